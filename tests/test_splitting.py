"""Cuts in pauses, the same however the stream is fed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from videos.splitting import (
    FRAME_MS,
    MAX_PART_MS,
    MIN_PART_MS,
    SAMPLE_RATE,
    Limits,
    Splitter,
    levels_db,
)

LOUD, QUIET = -20.0, -80.0


def levels(*stretches):
    """Levels from (seconds, dB) pairs."""
    return np.concatenate(
        [np.full(round(seconds * 1000) // FRAME_MS, db, np.float32) for seconds, db in stretches]
    )


def split(stream, limits, feed=250, committed=()):
    splitter = Splitter(limits, committed)
    parts = []
    for start in range(0, len(stream), feed):
        parts += splitter.feed(stream[start : start + feed])
    return parts + splitter.finish(len(stream) * FRAME_MS)


def test_the_cut_is_in_the_longest_pause_near_the_target():
    stream = levels((50, LOUD), (0.3, QUIET), (8, LOUD), (0.8, QUIET), (40, LOUD))

    first, second = split(stream, Limits(60_000))

    assert first.end_ms == second.start_ms == 58_700
    assert second.end_ms == 99_100


def test_without_a_pause_the_quietest_moment_is_cut():
    stream = levels((100, LOUD), (0.1, LOUD - 3), (100, LOUD))

    first = split(stream, Limits(60_000, max_ms=120_000))[0]

    assert abs(first.end_ms - 100_050) <= 60


def test_silence_has_no_speech():
    (part,) = split(levels((20, -95.0)), Limits(60_000))

    assert part.speech == []


def test_speech_is_found_between_pauses():
    (part,) = split(levels((2, QUIET), (3, LOUD), (1, QUIET), (2, LOUD)), Limits(60_000))

    assert part.speech == [(2000, 5000), (6000, 8000)]
    assert part.speech_ms == 5000


def test_steady_sound_is_taken_for_speech_so_that_nothing_is_skipped():
    (part,) = split(levels((10, -30.0)), Limits(60_000))

    assert part.speech == [(0, 10_000)]


def test_committed_cuts_are_cut_again():
    stream = levels((30, LOUD), (1, QUIET), (100, LOUD))

    parts = split(stream, Limits(60_000), committed=[45_000])

    assert parts[0].end_ms == 45_000


talk = st.lists(
    st.tuples(st.floats(0.1, 30), st.sampled_from([LOUD, -35.0, QUIET])), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(talk, st.integers(1, 700))
def test_parts_join_without_gap_and_do_not_depend_on_the_feeding(stretches, feed):
    stream = levels(*stretches)
    limits = Limits(20_000, max_ms=40_000)

    parts = split(stream, limits, feed)

    assert parts == split(stream, limits, len(stream) or 1)
    bounds = [0] + [part.end_ms for part in parts]
    assert [part.start_ms for part in parts] == bounds[:-1]
    assert bounds[-1] == len(stream) * FRAME_MS
    assert all(part.end_ms - part.start_ms <= limits.max_ms for part in parts)


@given(st.integers(1, 13 * 3_600_000), st.integers(1, 64))
def test_parts_fill_the_calls_and_fit_an_upload(duration_ms, in_flight):
    limits = Limits.for_duration(duration_ms, in_flight)

    assert 0 < limits.target_ms <= limits.max_ms <= MAX_PART_MS
    if duration_ms > 2 * MIN_PART_MS:
        assert limits.target_ms >= MIN_PART_MS * 0.66
    assert Limits.from_name(limits.name) == limits


def test_the_longest_part_is_smaller_than_an_upload_even_as_pcm():
    assert MAX_PART_MS // 1000 * SAMPLE_RATE * 2 < 26_214_400 * 0.9


def test_levels_are_decibels_below_full_scale():
    square = np.full(3200, 32767, np.int16)

    assert np.allclose(levels_db(square), 0, atol=0.01)
    assert np.allclose(levels_db(square // 10), -20, atol=0.1)
    assert np.allclose(levels_db(np.zeros(3200, np.int16)), -100)
