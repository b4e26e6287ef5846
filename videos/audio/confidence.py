"""How far a transcript can be trusted: speech without text, and text without speech. Pure."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from videos.audio.parts import Interval
from videos.audio.stitching import RecognizedSegment

UNSURE = "unsure"
REPEATED = "repeated"
SILENT = "silent"
TOO_FAST = "too fast"
VOICELESS = "voiceless"
PAST_END = "past the end"
#: What a viewer is told of each.
MEANINGS = {
    UNSURE: "The recognizer was unsure here.",
    REPEATED: "The recognizer repeated itself here.",
    SILENT: "There is text here, but hardly any sound.",
    TOO_FAST: "There are more words here than anyone can say in the time.",
    VOICELESS: "There is text here, but no one seems to be speaking.",
    PAST_END: "The media ends before this: are these its captions?",
}

#: Below this share of its speech, what was recognized in a part is worth a second pass, and what
#: was recognized in a video a warning.
MIN_COVERAGE = 0.5

#: A service's times may be off by this much before its segment counts as missing speech.
_TOLERANCE_MS = 1_000
#: The same text in so many segments in a row, as Whisper repeats a line that it is caught in.
_MAX_EQUAL = 3
#: Whisper's own limit (openai/whisper, transcribe.py: compression_ratio_threshold), for characters.
_MAX_COMPRESSION = 2.4
_MIN_COMPRESSED = 100
#: Fast speakers reach 5 words a second; auctioneers about 6 (about 25 characters).
_MAX_CHARACTERS_PER_S = 40
_MIN_FAST_CHARACTERS = 40
_MIN_SOUNDING = 0.1
_MIN_SILENT_S = 1.0
#: Words are said where there is a voice, give or take what times and its edges are off.
_MIN_VOICED = 0.2
_VOICE_TOLERANCE_MS = 300


def coverage(speech: Iterable[Interval], segments: Iterable[RecognizedSegment]) -> float:
    """Return which share of the speech the segments cover, 0 to 1; 1 where nobody speaks."""
    spoken = _merged(speech)
    total = sum(end - start for start, end in spoken)
    covered = _Intervals(_merged(map(_tolerant, segments)))
    return sum(map(covered.overlap_ms, spoken)) / total if total else 1.0


def score(
    speech: Sequence[Interval],
    segments: Sequence[RecognizedSegment],
    voiced: Sequence[Interval] | None = None,
) -> float:
    """Return which share of the speech is covered by segments that nobody need doubt, 0 to 1."""
    trusted = [segment for segment in doubted(speech, segments, voiced) if not segment.doubt]
    return coverage(speech, trusted)


def common(some: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """Return what two lists of intervals have in common."""
    found: list[Interval] = []
    first, second = deque(_merged(some)), deque(_merged(others))
    while first and second:
        start, end = max(first[0][0], second[0][0]), min(first[0][1], second[0][1])
        if start < end:
            found.append((start, end))
        # The one that ends first has nothing in common with what follows in the other.
        (first if first[0][1] <= second[0][1] else second).popleft()
    return found


def doubted(
    speech: Sequence[Interval],
    segments: Sequence[RecognizedSegment],
    voiced: Sequence[Interval] | None = None,
) -> list[RecognizedSegment]:
    """Return the segments, each with the first reason there is to doubt it.

    A reason that it has already, given by the service, stays.

    Args:
        speech: what is loud enough to be speech, in ms on the segments' clock.
        segments: what was recognized.
        voiced: where there may be a voice; None: nobody has looked.
    """
    spoken = _Intervals(_merged(speech))
    voices = None if voiced is None else _Intervals(_merged(voiced))
    equal = _equal_in_a_row(segments)
    return [
        segment if segment.doubt else replace(segment, doubt=_doubt(segment, count, spoken, voices))
        for segment, count in zip(segments, equal, strict=True)
    ]


def _doubt(
    segment: RecognizedSegment, equal: int, spoken: _Intervals, voices: _Intervals | None
) -> str:
    if equal >= _MAX_EQUAL or _repeats(segment.text):
        return REPEATED
    length_s = segment.end - segment.start
    characters = len(segment.text)
    if characters >= _MIN_FAST_CHARACTERS and characters > _MAX_CHARACTERS_PER_S * length_s:
        return TOO_FAST
    sounding = spoken.overlap_ms(_tolerant(segment)) / 1000
    if length_s >= _MIN_SILENT_S and sounding < _MIN_SOUNDING * length_s:
        return SILENT
    if voices is not None and not segment.vouched:
        voiced_s = voices.overlap_ms(_tolerant(segment, _VOICE_TOLERANCE_MS)) / 1000
        if voiced_s < _MIN_VOICED * max(length_s, _VOICE_TOLERANCE_MS / 1000):
            return VOICELESS
    return ""


def _repeats(text: str) -> bool:
    # Characters, not bytes: of a Tamil character's three, two are the same in all of them.
    if len(text) < _MIN_COMPRESSED:
        return False
    return len(text) / len(zlib.compress(text.encode())) > _MAX_COMPRESSION


def _equal_in_a_row(segments: Sequence[RecognizedSegment]) -> list[int]:
    """Return, for each segment, how many in a row say the same, itself included."""
    counts: list[int] = []
    said = [re.sub(r"\W+", " ", segment.text.lower()).strip() for segment in segments]
    for text in said:
        if counts and text == said[len(counts) - 1]:
            counts.append(counts[-1] + 1)
        else:
            counts.append(1)
    for position in range(len(counts) - 2, -1, -1):
        if said[position] == said[position + 1]:
            counts[position] = counts[position + 1]
    return counts


def _tolerant(segment: RecognizedSegment, by_ms: int = _TOLERANCE_MS) -> Interval:
    return int(segment.start * 1000) - by_ms, int(segment.end * 1000) + by_ms


class _Intervals:
    """Sorted, disjoint intervals with the sums of their lengths: a look costs their logarithm."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._starts = [start for start, _ in intervals]
        self._ends = [end for _, end in intervals]
        self._sums = [0, *accumulate(end - start for start, end in intervals)]

    def overlap_ms(self, interval: Interval) -> int:
        """Return how much an interval has in common with them."""
        start, end = interval
        first, past = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= past:
            return 0
        before = max(0, start - self._starts[first])
        after = max(0, self._ends[past - 1] - end)
        return self._sums[past] - self._sums[first] - before - after


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
