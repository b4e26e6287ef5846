"""Parts joined on the video's clock: nothing lost, doubled or running backwards."""

from hypothesis import given
from hypothesis import strategies as st

from videos.audio.parts import Part
from videos.audio.stitching import RecognizedSegment, on_video_clock, spoken_intervals, stitch


def part(start_ms, end_ms, *speech):
    return Part(start_ms, end_ms, list(speech) or [(start_ms, end_ms)])


def test_times_are_moved_by_the_parts_start():
    joined = stitch(
        [
            (part(60_000, 90_000), [RecognizedSegment(1.5, 4.0, " second  part ")]),
            (part(0, 60_000), [RecognizedSegment(0.0, 2.0, "first part")]),
        ]
    )

    assert [(entry.start, entry.end, entry.text) for entry in joined] == [
        (0.0, 2.0, "first part"),
        (61.5, 64.0, "second part"),
    ]


def test_times_outside_a_part_are_kept_inside_it():
    (only,) = stitch([(part(10_000, 20_000), [RecognizedSegment(-3.0, 99.0, "text")])])

    assert (only.start, only.end) == (10.0, 20.0)


def test_the_silence_that_was_left_out_is_put_back():
    whole = part(10_000, 110_000, (10_000, 20_000), (80_000, 110_000))
    recognized = [
        RecognizedSegment(9.0, 10.0, "before", words=[(9.0, 10.0, "before")]),
        RecognizedSegment(12.0, 13.0, "after", words=[(12.0, 13.0, "after")]),
    ]

    before, after = on_video_clock(whole, recognized)

    assert (before.start, before.end) == (19.0, 20.0)
    # 10 s of speech, a second at either side of the silence, which ends at 80 s.
    assert (after.start, after.end) == (80.0, 81.0)
    assert after.words == [(80.0, 81.0, "after")]


def test_at_a_seam_an_end_belongs_to_the_earlier_clip_and_a_start_to_the_later():
    whole = part(0, 100_000, (0, 10_000), (90_000, 100_000))

    ends, starts = on_video_clock(
        whole, [RecognizedSegment(8.0, 11.0, "ends"), RecognizedSegment(11.0, 12.5, "starts")]
    )

    assert (ends.end, starts.start, starts.end) == (11.0, 89.0, 90.5)


def test_a_segment_said_to_go_on_beyond_a_seam_ends_before_the_silence():
    whole = part(0, 100_000, (0, 10_000), (90_000, 100_000))
    said = RecognizedSegment(8.0, 11.5, "said", words=[(8.0, 9.0, "said")])

    by_words, by_length = on_video_clock(
        whole, [said, RecognizedSegment(10.5, 13.0, "longer behind")]
    )

    assert (by_words.start, by_words.end) == (8.0, 11.0)
    assert (by_length.start, by_length.end) == (89.0, 91.0)


def test_a_segment_with_words_at_both_sides_of_a_silence_spans_it():
    whole = part(0, 100_000, (0, 10_000), (90_000, 100_000))
    words = [(9.0, 10.0, "one"), (12.0, 13.0, "two")]

    (only,) = on_video_clock(whole, [RecognizedSegment(9.0, 13.0, "one two", words=words)])

    assert (only.start, only.end) == (9.0, 91.0)


def test_one_odd_time_does_not_move_the_others():
    recognized = [
        RecognizedSegment(0.0, 20.0, "A talks,", "A"),
        RecognizedSegment(5.0, 6.0, "B agrees,", "B"),
        RecognizedSegment(90.0, 91.0, "late,"),
        RecognizedSegment(21.0, 30.0, "A goes on.", "A"),
    ]

    stitched = stitch([(part(0, 100_000, (0, 100_000)), recognized)])

    times = [(0.0, 20.0), (5.0, 6.0), (21.0, 30.0), (90.0, 91.0)]
    assert [(segment.start, segment.end) for segment in stitched] == times


def test_speech_is_told_on_the_clock_of_the_upload():
    spoken = [(2_000, 10_000), (12_000, 25_000)]
    assert spoken_intervals(part(0, 30_000, *spoken)) == spoken
    # Twenty seconds of silence at the beginning are not uploaded, but for one.
    assert spoken_intervals(part(0, 30_000, (20_000, 29_000))) == [(1_000, 10_000)]
    late = part(60_000, 120_000, (61_000, 70_000), (100_000, 110_000))
    assert spoken_intervals(late) == [(1_000, 10_000), (12_000, 22_000)]


times = st.floats(-5, 40)
words = st.lists(st.tuples(times, times, st.text(max_size=3)), max_size=4)
recognized = st.lists(
    st.builds(RecognizedSegment, times, times, st.text(max_size=5), words=words), max_size=8
)
cuts = st.lists(st.integers(1, 90), unique=True, min_size=1, max_size=6).map(sorted)
speech = st.lists(st.integers(0, 30_000), unique=True, min_size=2, max_size=8).map(sorted)


@given(cuts, st.lists(recognized, min_size=6, max_size=6), speech)
def test_stitched_segments_and_words_run_forward_inside_the_media(ends_s, parts, spoken):
    bounds = [0, *(end * 1000 for end in ends_s)]
    joined = stitch(
        (
            Part(
                start_ms,
                end_ms,
                [
                    (min(start_ms + begin, end_ms), min(start_ms + finish, end_ms))
                    for begin, finish in zip(spoken[::2], spoken[1::2], strict=False)
                ],
            ),
            segments,
        )
        for start_ms, end_ms, segments in zip(bounds, bounds[1:], parts, strict=False)
    )

    starts = [entry.start for entry in joined]
    assert starts == sorted(starts)
    assert all(0 <= entry.start <= entry.end <= ends_s[-1] for entry in joined)
    for entry in joined:
        moments = [moment for start, end, _ in entry.words for moment in (start, end)]
        starts = moments[::2]
        assert starts == sorted(starts)
        assert all(entry.start <= moment <= entry.end for moment in moments)
    used = parts[: len(ends_s)]
    said = [" ".join(entry.text.split()) for segments in used for entry in segments]
    assert sorted(entry.text for entry in joined) == sorted(text for text in said if text)


def test_what_begins_at_a_seam_is_behind_it_whatever_a_float_says():
    whole = part(0, 100_000, (0, 3_020), (90_000, 100_000))

    (only,) = on_video_clock(whole, [RecognizedSegment(4.02, 5.02, "behind")])

    assert (only.start, only.end) == (89.0, 90.0)
