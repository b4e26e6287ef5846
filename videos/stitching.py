"""Putting the parts of a transcript together on the video's own clock. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from videos.splitting import Interval

#: A service's times may be off by this much before its segment counts as missing speech.
_TOLERANCE_MS = 1_000


@dataclass(frozen=True)
class HeardSegment:
    """A piece of text with its seconds, on the clock of the part or of the video."""

    start: float
    end: float
    text: str
    speaker: str = ""
    suspicious: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what an AudioPart keeps."""
        return asdict(self)


def stitch(
    parts: Iterable[tuple[int, int, Sequence[HeardSegment]]],
) -> list[HeardSegment]:
    """Join `(start_ms, end_ms, segments on the part's clock)` into one monotone list.

    Times are moved by the part's start and kept inside its bounds; no segment starts before
    the one ahead of it; segments without text are left out.
    """
    stitched: list[HeardSegment] = []
    latest = 0.0
    for start_ms, end_ms, segments in sorted(parts, key=lambda part: part[0]):
        offset, limit = start_ms / 1000, end_ms / 1000
        for segment in segments:
            text = " ".join(segment.text.split())
            if not text:
                continue
            start = min(max(offset + segment.start, offset, latest), limit)
            end = min(max(offset + segment.end, start), limit)
            latest = start
            stitched.append(replace(segment, start=round(start, 3), end=round(end, 3), text=text))
    return stitched


def coverage(speech: Iterable[Interval], segments: Iterable[HeardSegment]) -> float:
    """Return which share of the speech the segments cover, 0 to 1; 1 where nobody speaks."""
    total = covered = 0
    heard = _merged(
        (
            int(segment.start * 1000) - _TOLERANCE_MS,
            int(segment.end * 1000) + _TOLERANCE_MS,
        )
        for segment in segments
    )
    position = 0
    for start, end in _merged(speech):
        total += end - start
        while position < len(heard) and heard[position][1] <= start:
            position += 1
        for begin, finish in heard[position:]:
            if begin >= end:
                break
            covered += min(finish, end) - max(begin, start)
    return covered / total if total else 1.0


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
