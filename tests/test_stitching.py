"""Parts joined on the video's clock: nothing lost, doubled or running backwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.stitching import HeardSegment, coverage, stitch


def test_times_are_moved_by_the_parts_start():
    joined = stitch(
        [
            (60_000, 90_000, [HeardSegment(1.5, 4.0, " second  part ")]),
            (0, 60_000, [HeardSegment(0.0, 2.0, "first part")]),
        ]
    )

    assert [(entry.start, entry.end, entry.text) for entry in joined] == [
        (0.0, 2.0, "first part"),
        (61.5, 64.0, "second part"),
    ]


def test_times_outside_a_part_are_kept_inside_it():
    (only,) = stitch([(10_000, 20_000, [HeardSegment(-3.0, 99.0, "text")])])

    assert (only.start, only.end) == (10.0, 20.0)


times = st.floats(-5, 40)
heard = st.lists(st.builds(HeardSegment, times, times, st.text(max_size=5)), max_size=8)


@given(st.lists(heard, min_size=1, max_size=6))
def test_stitched_segments_run_forward_inside_the_media(parts):
    bounds = [(n * 30_000, (n + 1) * 30_000, segments) for n, segments in enumerate(parts)]

    joined = stitch(bounds)

    starts = [entry.start for entry in joined]
    assert starts == sorted(starts)
    assert all(0 <= entry.start <= entry.end <= 30 * len(parts) for entry in joined)
    said = [" ".join(entry.text.split()) for segments in parts for entry in segments]
    assert [entry.text for entry in joined] == [text for text in said if text]


@pytest.mark.parametrize(
    ("speech", "segments", "share"),
    [
        ([], [], 1.0),  # nobody speaks
        ([(0, 10_000)], [], 0.0),
        ([(0, 10_000)], [(0, 10)], 1.0),
        ([(0, 10_000), (10_500, 20_500)], [(0, 10)], 0.525),  # a second of tolerance
        ([(0, 10_000)], [(0, 3), (2, 4)], 0.5),  # overlaps count once
    ],
)
def test_coverage_is_the_share_of_speech_that_was_transcribed(speech, segments, share):
    heard = [HeardSegment(start, end, "text") for start, end in segments]

    assert coverage(speech, heard) == pytest.approx(share, abs=0.01)
