"""Putting the parts of a transcript together on the video's own clock. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from videos.audio.parts import Interval, Part

#: A word as it was recognized: start and end in seconds, text.
Word = tuple[float, float, str]


GIVEN, ALIGNED, CUT = "given", "aligned", "cut"


@dataclass(frozen=True)
class RecognizedSegment:
    """A piece of text with its seconds, on the clock of an upload or of the video."""

    start: float
    end: float
    text: str
    speaker: str = ""
    #: Why the text should not be trusted without a look (`audio.confidence`); empty: no reason.
    doubt: str = ""
    #: Its words, where their times are known.
    words: Sequence[Word] = ()
    #: How its times came: GIVEN by the service, ALIGNED with the audio here, or CUT: shared out
    #: between two pauses.
    timing: str = GIVEN
    #: Whether the service itself is sure that this was said.
    vouched: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what an AudioPart keeps."""
        return asdict(self)


def on_video_clock(part: Part, recognized: Iterable[RecognizedSegment]) -> list[RecognizedSegment]:
    """Move what was recognized in a part's upload to the video's clock.

    An upload holds the part's clips, one after the other; silences between them were left out.
    Times outside of the upload are moved to its ends. A segment said to go on beyond a seam
    lies in the clips that hold its words; without words, in the clip that holds most of it.
    """
    clock = Clock(part.clips)
    moved = []
    for segment in recognized:
        words = [
            (begin, max(begin, clock.end(word[1])), word[2])
            for word in segment.words
            for begin in [clock.start(word[0])]
        ]
        start, end = clock.span(segment.start, segment.end, words)
        moved.append(replace(segment, start=start, end=max(start, end), words=words))
    return moved


def spoken_intervals(part: Part) -> list[Interval]:
    """Return when somebody speaks in a part's upload, in milliseconds of the upload."""
    spoken: list[Interval] = []
    before = 0
    for clip_start, clip_end in part.clips:
        shift = before - clip_start
        spoken += [
            (max(start, clip_start) + shift, min(end, clip_end) + shift)
            for start, end in part.speech
            if start < clip_end and clip_start < end
        ]
        before += clip_end - clip_start
    return spoken


class Clock:
    """Turns seconds of clips, played one after the other, into seconds of what they are from."""

    def __init__(self, clips: Sequence[Interval]) -> None:
        self._clips = clips

    def start(self, seconds: float) -> float:
        """Return when something began; at a seam, it is the later clip."""
        return self._moved(seconds, belongs_before=False)

    def end(self, seconds: float) -> float:
        """Return when something ended; at a seam, it is the earlier clip."""
        return self._moved(seconds, belongs_before=True)

    def span(self, start: float, end: float, words: Sequence[Word]) -> tuple[float, float]:
        """Return from when to when somebody spoke, without a silence before or behind it."""
        whole = self.start(start), self.end(end)
        pieces = [
            (max(first_ms / 1000, whole[0]), min(last_ms / 1000, whole[1]))
            for first_ms, last_ms in self._clips
            if first_ms / 1000 < whole[1] and whole[0] < last_ms / 1000
        ]
        if len(pieces) < 2:
            return whole
        spoken = [
            (first, last)
            for first, last in pieces
            if any(first <= begin < last for begin, _, _ in words)
        ] or [max(pieces, key=lambda piece: piece[1] - piece[0])]
        return spoken[0][0], spoken[-1][1]

    def _moved(self, seconds: float, *, belongs_before: bool) -> float:
        left_ms = round(max(seconds, 0.0) * 1000, 3)
        for start_ms, end_ms in self._clips:
            length_ms = end_ms - start_ms
            if left_ms < length_ms or (belongs_before and left_ms <= length_ms):
                return round((start_ms + left_ms) / 1000, 3)
            left_ms -= length_ms
        return self._clips[-1][1] / 1000 if self._clips else 0.0


def stitch(parts: Iterable[tuple[Part, Sequence[RecognizedSegment]]]) -> list[RecognizedSegment]:
    """Join what was recognized in each part into one list that runs forward, on the video's clock.

    Segments stay inside their part, in the order of their starts; where two speakers talk at once
    they overlap. Their words run forward inside them. Segments without text are left out.
    """
    stitched: list[RecognizedSegment] = []
    for part, recognized in sorted(parts, key=lambda entry: entry[0].start_ms):
        start, limit = part.start_ms / 1000, part.end_ms / 1000
        for segment in sorted(on_video_clock(part, recognized), key=lambda entry: entry.start):
            text = " ".join(segment.text.split())
            if not text:
                continue
            start = min(max(segment.start, start), limit)
            end = min(max(segment.end, start), limit)
            words = list(_forward(segment.words, start, end))
            stitched.append(replace(segment, start=start, end=end, text=text, words=words))
    return stitched


def _forward(words: Iterable[Word], start: float, end: float) -> Iterator[Word]:
    """Yield words whose times run forward from `start` to `end`."""
    for word_start, word_end, text in words:
        start = min(max(word_start, start), end)
        yield start, min(max(word_end, start), end), text
