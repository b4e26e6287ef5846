"""Chapters that a model proposes: read, and held to the transcript's times. Pure."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_TITLE = 80
#: How far from a line a chapter may begin that is taken to begin with it, in seconds.
_TOLERANCE_S = 10.0
#: Chapters are no shorter.
_MIN_S = 20.0


class Chapter(NamedTuple):
    """Where a chapter begins, in seconds, and what it is about."""

    start: float
    title: str


def read(answer: str, starts: Sequence[float]) -> list[Chapter]:
    """Return the chapters of an answer whose times are times of lines; the others are dropped.

    Args:
        answer: JSON, `{"chapters": [{"start": 12.5, "title": "…"}]}`, whatever stands around it.
        starts: when the transcript's lines begin, in order.

    Raises:
        ValueError: if it cannot be read.
    """
    begin, end = answer.find("{"), answer.rfind("}")
    try:
        proposed = json.loads(answer[begin : end + 1])["chapters"]
        entries = [(entry["start"], entry["title"]) for entry in proposed]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"there are no chapters in it: {error}") from None
    chapters: dict[float, Chapter] = {}
    for said, title in entries:
        start = _nearest(said, starts)
        cleaned = _cleaned(title)
        if start is not None and cleaned:
            chapters.setdefault(start, Chapter(start, cleaned))
    return list(spaced(sorted(chapters.values())))


def spaced(chapters: Iterable[Chapter]) -> Iterable[Chapter]:
    """Leave out chapters that begin too soon after another."""
    last = -math.inf
    for chapter in chapters:
        if chapter.start - last >= _MIN_S:
            yield chapter
            last = chapter.start


def _nearest(said: object, starts: Sequence[float]) -> float | None:
    if not isinstance(said, (int, float)) or not math.isfinite(said):
        return None
    at = bisect_left(starts, said)
    near = min(starts[max(at - 1, 0) : at + 1], key=lambda start: abs(start - said), default=None)
    return near if near is not None and abs(near - said) <= _TOLERANCE_S else None


def _cleaned(title: object) -> str:
    if not isinstance(title, str):
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in title)
    return " ".join(shown.split())[:MAX_TITLE]
