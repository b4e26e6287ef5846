"""Where to cut audio: in pauses, so that no word is halved. Pure; times are in milliseconds.

A part must fit one upload. PCM at 16 kHz mono is 32,000 bytes a second and FLAC is never
noticeably larger than that, so a part of at most MAX_PART_MS stays under 23.1 MB, below the
API's 26,214,400 bytes for the whole request, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
FRAME_MS = 20
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
#: Raise it whenever the same audio would be cut elsewhere: it is part of a part's identity.
VERSION = 1
MAX_PART_MS = 12 * 60_000
MIN_PART_MS = 60_000
_LONGEST_TARGET_MS = 8 * 60_000
_UNKNOWN_DURATION_TARGET_MS = 5 * 60_000

#: Quieter than this is silence in any recording (dB below full scale).
_SILENCE_DB = -60.0
_FLOOR_DB = -100.0
#: A recording whose loud and quiet frames differ by less has no pauses that can be told apart.
_LEAST_RANGE_DB = 10.0
_MIN_PAUSE_MS = 160
_JOIN_SPEECH_MS = 300
_MIN_SPEECH_MS = 80

Levels = npt.NDArray[np.float32]
Interval = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A stretch of audio between two cuts, and the speech found in it."""

    start_ms: int
    end_ms: int
    speech: list[Interval]

    @property
    def speech_ms(self) -> int:
        """Milliseconds of speech in the part."""
        return sum(end - start for start, end in self.speech)


@dataclass(frozen=True)
class Limits:
    """How long a part should be, and must not be longer than."""

    target_ms: int
    max_ms: int = MAX_PART_MS

    @property
    def name(self) -> str:
        """The splitter's version and settings, as stored beside the parts."""
        return f"{VERSION}:{self.target_ms}:{self.max_ms}"

    @classmethod
    def from_name(cls, name: str) -> Limits:
        """Read back what `name` wrote.

        Raises:
            ValueError: if another version of the splitter wrote it.
        """
        version, target_ms, max_ms = (int(field) for field in name.split(":"))
        if version != VERSION:
            raise ValueError(f"parts were cut by version {version} of the splitter")
        return cls(target_ms, max_ms)

    @classmethod
    def for_duration(
        cls, duration_ms: int | None, in_flight: int, longest_ms: int | None = None
    ) -> Limits:
        """Choose equal parts that fill `in_flight` calls, none under a minute without need.

        `longest_ms` is the longest audio that the model takes, where that is less than ours.
        """
        hardest = min(longest_ms or MAX_PART_MS, MAX_PART_MS)
        shortest = min(MIN_PART_MS, hardest * 2 // 3)
        longest = min(_LONGEST_TARGET_MS, hardest * 2 // 3)
        if not duration_ms:
            return cls(min(longest, _UNKNOWN_DURATION_TARGET_MS), hardest)
        ideal = min(max(duration_ms / max(in_flight, 1), shortest), longest)
        count = max(1, round(duration_ms / ideal))
        return cls(min(longest, -(-duration_ms // count)) or 1, hardest)


def levels_db(samples: npt.NDArray[np.int16]) -> Levels:
    """Return the loudness of every whole frame of `samples`, in dB below full scale."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = np.mean(np.square(frames.astype(np.float32) / 32768.0), axis=1)
    levels: Levels = np.maximum(10 * np.log10(np.maximum(power, 1e-10)), _FLOOR_DB)
    return levels.astype(np.float32, copy=False)


class Splitter:
    """Cuts a stream of levels into parts; equal streams give equal cuts, however they are fed.

    `committed` are the ends of parts that were cut before: they are cut there again.
    """

    def __init__(self, limits: Limits, committed: Sequence[int] = ()) -> None:
        self._limits = limits
        self._committed = sorted(committed)
        self._start_ms = 0
        self._levels: Levels = np.empty(0, np.float32)

    def feed(self, levels: Levels) -> list[Part]:
        """Take more levels; return the parts whose end is now known."""
        self._levels = np.concatenate([self._levels, levels])
        parts = []
        while cut := self._next_cut():
            parts.append(self._take(cut))
        return parts

    def finish(self, end_ms: int) -> list[Part]:
        """Return what is left, up to the media's end at `end_ms`."""
        if end_ms <= self._start_ms:
            return []
        return [self._take(len(self._levels), end_ms)]

    def _next_cut(self) -> int | None:
        """Return how many frames the next part has, or None while that can't be told."""
        for end_ms in self._committed:
            if end_ms % FRAME_MS:
                return None  # The end of the media, which `finish` takes.
            if end_ms > self._start_ms:
                frames = (end_ms - self._start_ms) // FRAME_MS
                return frames if frames <= len(self._levels) else None
        target = self._limits.target_ms // FRAME_MS
        hardest = self._limits.max_ms // FRAME_MS
        # The window widens step by step until it holds a pause; each look is at a fixed
        # number of frames, so that the cut does not depend on how the stream was fed.
        reach = target // 4 + 1
        for widening in range(1, hardest + 1):
            end = min(target + widening * reach, hardest)
            if len(self._levels) < end:
                return None
            window = self._levels[:end]
            begin = max(1, target - reach)
            pause = _best_pause(window, begin, target)
            if pause is not None:
                return pause
            if end == hardest:
                return begin + _quietest(window[begin:])
        return None

    def _take(self, frames: int, end_ms: int | None = None) -> Part:
        levels, self._levels = self._levels[:frames], self._levels[frames:]
        start_ms = self._start_ms
        self._start_ms = start_ms + frames * FRAME_MS if end_ms is None else end_ms
        speech = [
            (
                start_ms + begin * FRAME_MS,
                min(start_ms + end * FRAME_MS, self._start_ms),
            )
            for begin, end in _speech_runs(levels)
        ]
        return Part(start_ms, self._start_ms, speech)


def _threshold(levels: Levels) -> float:
    """Return the level that parts speech from pauses in this recording."""
    loud, quiet = (float(value) for value in np.percentile(levels, (95, 10)))
    if loud - quiet < _LEAST_RANGE_DB:
        return _SILENCE_DB
    between = quiet + 0.3 * (loud - quiet)
    return max(_SILENCE_DB, min(max(between, loud - 45), loud - 12))


def _runs(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return [[begin, end), …] of the stretches in which `mask` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def _best_pause(levels: Levels, begin: int, target: int) -> int | None:
    """Return the middle of the longest pause from `begin` on; the nearest of equal ones."""
    pauses: npt.NDArray[Any] = _runs(levels < _threshold(levels))
    best: tuple[int, int] | None = None
    for first, last in pauses:
        middle = int(first + last) // 2
        if middle < begin or (last - first) * FRAME_MS < _MIN_PAUSE_MS:
            continue
        rank = (int(last - first), -abs(middle - target))
        if best is None or rank > (best[0], -abs(best[1] - target)):
            best = (int(last - first), middle)
    return best[1] if best else None


def _quietest(levels: Levels) -> int:
    """Return the middle of the quietest 100 ms: the least bad cut in unbroken sound."""
    width = min(len(levels), 100 // FRAME_MS)
    means = np.convolve(levels, np.ones(width) / width, mode="valid")
    return int(np.argmin(means)) + width // 2


def _speech_runs(levels: Levels) -> list[Interval]:
    if not len(levels):
        return []
    joined: list[Interval] = []
    for first, last in _runs(levels >= _threshold(levels)):
        if joined and (first - joined[-1][1]) * FRAME_MS < _JOIN_SPEECH_MS:
            joined[-1] = (joined[-1][0], int(last))
        else:
            joined.append((int(first), int(last)))
    return [run for run in joined if (run[1] - run[0]) * FRAME_MS >= _MIN_SPEECH_MS]
