"""Where to cut audio: in pauses, so that no word is halved. Pure; times are in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from videos.audio.parts import MAX_PART_MS, SAMPLE_RATE, Interval, Part

FRAME_MS = 20
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
#: Raise it whenever the same audio would be cut elsewhere: it is part of a part's identity.
VERSION = 2
MIN_PART_MS = 60_000
#: Longer parts save calls, shorter ones end the last call sooner (docs/figures.md).
_MAX_TARGET_MS = 150_000
#: The last calls are planned to be longer and shorter than their mean by this share: the parts
#: of the first calls are decoded first, so these have more time left.
_TAPER = 0.1
#: A cut is looked for this far around its target, at first.
_MAX_REACH_MS = 8_000

#: Quieter than this is silence in any recording (dB below full scale).
_SILENCE_DB = -60.0
_FLOOR_DB = -100.0
#: A recording whose loud and quiet frames differ by less has no pauses that can be told apart.
_MIN_RANGE_DB = 10.0
_MIN_PAUSE_MS = 160
_JOIN_SPEECH_MS = 300
_MIN_SPEECH_MS = 80

Levels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bounds:
    """How long a part may be, in milliseconds."""

    #: No part is shorter, but for the last one and where an earlier cut was committed.
    min_ms: int
    #: A part is planned to be no shorter, unless the whole recording is, and no longer.
    min_planned_ms: int
    max_planned_ms: int
    max_ms: int
    #: How far around its target a cut is looked for at first.
    reach_ms: int

    @classmethod
    def within(cls, max_ms: int) -> Bounds:
        """Return the bounds of parts that may last so long."""
        min_ms = min(MIN_PART_MS, max_ms // 2)
        reach_ms = min(_MAX_REACH_MS, min_ms // 4)
        min_planned_ms = min_ms + reach_ms
        max_planned_ms = max(min_planned_ms, min(_MAX_TARGET_MS, max_ms * 2 // 3))
        return cls(min_ms, min_planned_ms, max_planned_ms, max_ms, reach_ms)


@dataclass(frozen=True)
class Limits:
    """What the cuts of one recording are planned by.

    `duration_ms` is 0 where the media does not say; `in_flight` calls go side by side; no part
    is longer than `max_ms`.
    """

    duration_ms: int
    in_flight: int
    max_ms: int = MAX_PART_MS

    @property
    def name(self) -> str:
        """The splitter's version and settings, as stored beside the parts."""
        return f"{VERSION}:{self.duration_ms}:{self.in_flight}:{self.max_ms}"

    @classmethod
    def from_name(cls, name: str) -> Limits:
        """Read back what `name` wrote.

        Raises:
            ValueError: if another version of the splitter wrote it.
        """
        version, *settings = (int(field) for field in name.split(":"))
        if version != VERSION:
            raise ValueError(f"parts were cut by version {version} of the splitter")
        return cls(*settings)

    @cached_property
    def bounds(self) -> Bounds:
        """How long its parts may be."""
        return Bounds.within(self.max_ms)

    @cached_property
    def targets(self) -> list[int]:
        """The milliseconds near which parts should end, in order; the last is the end.

        A recording with less than a shortest part for each call is cut into equal ones. Of a
        longer one, each call first gets a shortest part, so that all calls start soon; the rest
        is shared out in whole rounds, so that all calls end together.
        """
        shortest_ms = self.bounds.min_planned_ms
        capacity = self.duration_ms // shortest_ms
        if capacity <= self.in_flight:
            count = max(1, capacity, math.ceil(self.duration_ms / self.max_ms))
            lengths = [self.duration_ms / count] * count
        else:
            first = [float(shortest_ms)] * self.in_flight
            lengths = first + self._share_out(self.duration_ms - sum(first))
        return list(np.cumsum(lengths).round().astype(int).tolist())

    def _share_out(self, rest_ms: float) -> list[float]:
        bounds = self.bounds
        rounds = math.ceil(rest_ms / (self.in_flight * bounds.max_planned_ms))
        length = rest_ms / (rounds * self.in_flight)
        if length < bounds.min_planned_ms:
            count = max(1, int(rest_ms // bounds.min_planned_ms), math.ceil(rest_ms / self.max_ms))
            return [rest_ms / count] * count
        shares = np.linspace(1 + _TAPER, 1 - _TAPER, self.in_flight)
        last = [length * float(share) for share in shares / shares.mean()]
        return [length] * ((rounds - 1) * self.in_flight) + last

    def target_after(self, start_ms: int) -> int:
        """Return near which millisecond the part that begins at `start_ms` should end."""
        bounds = self.bounds
        soonest = start_ms + bounds.min_ms // 2
        planned = next((target for target in self.targets if target > soonest), None)
        unplanned_ms = bounds.max_planned_ms if self.duration_ms else bounds.min_planned_ms
        return planned or start_ms + unplanned_ms


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
        #: How often the next cut was looked for in vain.
        self._looks = 0

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
        bounds = self._limits.bounds
        target = (self._limits.target_after(self._start_ms) - self._start_ms) // FRAME_MS
        last, reach = bounds.max_ms // FRAME_MS, bounds.reach_ms // FRAME_MS
        begin = min(max(target - reach, bounds.min_ms // FRAME_MS), last - reach)
        # The window widens step by step until it holds a pause; each look is at a fixed
        # number of frames, so that the cut does not depend on how the stream was fed.
        while len(self._levels) >= (end := min(target + (self._looks + 1) * reach, last)):
            window = self._levels[:end]
            pause = _best_pause(window, begin, target)
            if pause is not None:
                return pause
            if end == last:
                return begin + _quietest(window[begin:])
            self._looks += 1
        return None

    def _take(self, frames: int, end_ms: int | None = None) -> Part:
        levels, self._levels = self._levels[:frames], self._levels[frames:]
        self._looks = 0
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
    if loud - quiet < _MIN_RANGE_DB:
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
    """Return the middle of the quietest 100 ms: the best cut in unbroken sound."""
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
