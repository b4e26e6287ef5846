"""What captions are: cues, what is taken for markup, what was mended. Pure; times in seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: What readers take for markup. No tag is looked for beyond the next one's beginning: openers
#: without an end cost no more time.
TAG = re.compile(
    r"</?(?:[cibuvs]|ruby|rt|lang|font|span|br)(?:[.\s/][^<>]*)?>|<[\d:.]+>|\{\\[^{}]*\}",
    re.IGNORECASE,
)


class BadCaptions(ValueError):
    """Raised when a text is neither SubRip nor WebVTT; says what is wrong, and where."""


@dataclass(frozen=True)
class Repair:
    """What was read otherwise than it is written; `line` is the first of `count`, from 1."""

    what: str
    line: int
    count: int = 1

    def __str__(self) -> str:
        more = f" (and {self.count - 1} more like it)" if self.count > 1 else ""
        return f"Line {self.line}: {self.what}{more}." if self.line else f"{self.what}."


class Cue(Protocol):
    """What a caption needs of a segment."""

    @property
    def start(self) -> float: ...  # noqa: D102
    @property
    def end(self) -> float: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def speaker(self) -> str: ...  # noqa: D102
    @property
    def words(self) -> Sequence[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Caption:
    """A cue that was read, or is to be written: its text may have several lines."""

    start: float
    end: float
    text: str
    speaker: str = ""
    words: Sequence[Any] = ()
