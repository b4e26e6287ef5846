"""Seconds as people and caption files write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.text.timecodes import clock, timecode


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0:00"), (59.999, "0:59"), (61, "1:01"), (3_599, "59:59"), (3_600, "1:00:00")],
)
def test_a_clock_shows_hours_where_there_are_some(seconds, written):
    assert clock(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "00:00:00,000"),
        (1.0004, "00:00:01,000"),
        (59.9996, "00:01:00,000"),
        (360_000, "100:00:00,000"),
    ],
)
def test_a_timecode_rounds_to_milliseconds_and_carries(seconds, written):
    assert timecode(seconds, ",") == written


@given(st.floats(0, 10**6))
def test_a_timecode_can_be_read_back(seconds):
    hours, minutes, rest = timecode(seconds, ".").split(":")

    assert int(hours) * 3600 + int(minutes) * 60 + float(rest) == pytest.approx(seconds, abs=0.0006)
