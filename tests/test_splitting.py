"""Cuts in pauses, the same however the stream is fed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos.audio import splitting
from videos.audio.parts import MAX_PART_MS, SAMPLE_RATE, Part
from videos.audio.splitting import FRAME_MS, MIN_PART_MS, Limits, Splitter, levels_db

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
    stream = levels((62, LOUD), (0.3, QUIET), (5, LOUD), (0.8, QUIET), (72, LOUD))

    first, second = split(stream, Limits(140_000, 16))

    assert first.end_ms == second.start_ms == 67_700
    assert second.end_ms == 140_100


def test_a_part_may_be_longer_than_planned_but_no_word_is_halved():
    stream = levels((90, LOUD), (0.5, QUIET), (60, LOUD))

    assert split(stream, Limits(150_500, 16))[0].end_ms == 90_240


def test_without_a_pause_the_quietest_moment_is_cut():
    stream = levels((100, LOUD), (0.1, LOUD - 3), (100, LOUD))

    first = split(stream, Limits(200_000, 16, max_ms=120_000))[0]

    assert abs(first.end_ms - 100_050) <= 60


def test_sound_without_pauses_is_looked_at_once_however_often_it_is_fed(monkeypatch):
    looks = []

    def counted(*arguments):
        looks.append(arguments)
        return find_pause(*arguments)

    find_pause = splitting._best_pause
    monkeypatch.setattr(splitting, "_best_pause", counted)
    stream = levels((3600, LOUD))

    parts = split(stream, Limits(3_600_000, 16), feed=10)
    often = len(looks)
    split(stream, Limits(3_600_000, 16), feed=len(stream))

    assert len(parts) > 1
    assert often == len(looks) - often


def test_recordings_under_two_minutes_are_one_part():
    assert len(split(levels((119, LOUD)), Limits(119_000, 16))) == 1


def test_media_that_does_not_tell_its_duration_is_cut_all_the_same():
    stream = levels(*[(4, LOUD), (0.5, QUIET)] * 60)

    parts = split(stream, Limits(0, 16))

    assert [part.end_ms - part.start_ms >= MIN_PART_MS for part in parts[:-1]] == [True] * 3


def test_silence_has_no_speech():
    (part,) = split(levels((20, -95.0)), Limits(20_000, 16))

    assert part.speech == []
    assert part.clips == []


def test_speech_is_found_between_pauses():
    (part,) = split(levels((2, QUIET), (3, LOUD), (1, QUIET), (2, LOUD)), Limits(8_000, 16))

    assert part.speech == [(2000, 5000), (6000, 8000)]


def test_steady_sound_is_taken_for_speech_so_that_nothing_is_skipped():
    (part,) = split(levels((10, -30.0)), Limits(10_000, 16))

    assert part.speech == [(0, 10_000)]


def test_committed_cuts_are_cut_again():
    stream = levels((30, LOUD), (1, QUIET), (100, LOUD))

    parts = split(stream, Limits(131_000, 16), committed=[45_000])

    assert parts[0].end_ms == 45_000


talk = st.lists(
    st.tuples(st.floats(0.1, 30), st.sampled_from([LOUD, -35.0, QUIET])), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(talk, st.integers(1, 700), st.integers(0, 400_000), st.integers(1, 5))
def test_parts_join_without_gap_and_do_not_depend_on_the_feeding(
    stretches, feed, duration_ms, in_flight
):
    stream = levels(*stretches)
    limits = Limits(duration_ms, in_flight, max_ms=30_000)

    parts = split(stream, limits, feed)

    assert parts == split(stream, limits, len(stream) or 1)
    bounds = [0] + [part.end_ms for part in parts]
    assert [part.start_ms for part in parts] == bounds[:-1]
    assert bounds[-1] == len(stream) * FRAME_MS
    assert all(part.end_ms - part.start_ms <= limits.max_ms for part in parts)


@given(st.integers(1, 13 * 3_600_000), st.integers(1, 64), st.sampled_from([30_000, MAX_PART_MS]))
def test_the_plan_fills_the_calls_and_fits_an_upload(duration_ms, in_flight, max_ms):
    limits = Limits(duration_ms, in_flight, max_ms)

    lengths = np.diff([0, *limits.targets])

    assert limits.targets[-1] == duration_ms
    assert max(lengths) <= limits.max_ms
    if len(lengths) > 1:
        assert min(lengths) >= limits.bounds.min_ms
    if duration_ms > in_flight * limits.bounds.min_planned_ms:
        assert len(lengths) >= in_flight
    assert Limits.from_name(limits.name) == limits


def test_an_hour_is_planned_so_that_all_calls_end_together():
    lengths = np.diff([0, *Limits(3_600_000, 16).targets])

    chains = [sum(lengths[call::16]) for call in range(16)]

    assert len(lengths) == 48
    assert max(chains) / min(chains) < 1.1
    assert chains[0] > chains[-1]


def part_of(*speech, end_ms=100_000):
    return Part(0, end_ms, list(speech))


@pytest.mark.parametrize(
    ("part", "clips"),
    [
        # pauses are kept, also at both ends
        (part_of((5_000, 40_000), (49_000, 95_000)), [(0, 100_000)]),
        # a long silence is left out, but for a second at either side
        (part_of((0, 30_000), (60_000, 100_000)), [(0, 31_000), (59_000, 100_000)]),
        # before and after all speech as well
        (part_of((40_000, 50_000)), [(39_000, 51_000)]),
        (part_of((0, 89_000)), [(0, 90_000)]),
        (part_of(), []),
    ],
)
def test_long_silences_are_not_uploaded(part, clips):
    assert part.clips == clips


intervals = st.lists(st.integers(0, 300_000), unique=True, max_size=20).map(
    lambda bounds: list(zip(sorted(bounds)[::2], sorted(bounds)[1::2], strict=False))
)


@given(intervals)
def test_clips_hold_all_speech_and_nothing_twice(speech):
    part = Part(0, 300_000, speech)

    assert all(
        any(begin <= start and end <= finish for begin, finish in part.clips)
        for start, end in speech
    )
    flat = [bound for clip in part.clips for bound in clip]
    assert flat == sorted(flat)
    assert all(0 <= bound <= 300_000 for bound in flat)


def test_the_longest_part_is_smaller_than_an_upload_even_as_pcm():
    assert MAX_PART_MS // 1000 * SAMPLE_RATE * 2 < 26_214_400 * 0.9


def test_levels_are_decibels_below_full_scale():
    square = np.full(3200, 32767, np.int16)

    assert np.allclose(levels_db(square), 0, atol=0.01)
    assert np.allclose(levels_db(square // 10), -20, atol=0.1)
    assert np.allclose(levels_db(np.zeros(3200, np.int16)), -100)
