"""Changing the text of a transcript. Pure; seconds.

A line is what a person sees and edits: a segment of the transcript.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from videos.text.glue import glued
from videos.text.retiming import Words, retimed


@dataclass(frozen=True)
class Line:
    """A piece of a transcript; `machine_text` is what was recognized, None if nobody changed it."""

    start: float
    end: float
    text: str
    speaker: str = ""
    doubt: str = ""
    timing: str = "given"
    words: list[list[Any]] = field(default_factory=list)
    machine_text: str | None = None

    @property
    def is_corrected(self) -> bool:
        """Whether a person has changed it."""
        return self.machine_text is not None

    @property
    def recognized(self) -> str:
        """What was recognized, whoever changed it."""
        return self.text if self.machine_text is None else self.machine_text

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept in a history."""
        return asdict(self)


class CannotChange(ValueError):
    """Raised for a change that makes no sense; says why."""


def rewritten(line: Line, text: str) -> Line:
    """Return a line with another text; nobody doubts what a person has written.

    Raises:
        CannotChange: if the text is empty.
    """
    text = " ".join(text.split())
    if not text:
        raise CannotChange("A line needs words. To remove it, join it with another.")
    if text == line.text and not line.doubt:
        return line
    is_as_recognized = text == line.recognized
    return replace(
        line,
        text=text,
        doubt="",
        words=retimed(line.words, line.text, text, (line.start, line.end)),
        machine_text=None if is_as_recognized and text != line.text else line.recognized,
    )


def split(line: Line, at: int) -> tuple[Line, Line]:
    """Split a line before the character at position `at` of its text.

    Raises:
        CannotChange: if one of the two would be empty.
    """
    before, after = line.text[:at].strip(), line.text[at:].strip()
    if not before or not after:
        raise CannotChange("There is nothing to split here: choose a place between two words.")
    words = [list(word) for word in line.words]
    count = _words_within(words, before)
    if 0 < count < len(words):
        end, start = words[count - 1][1], words[count][0]
    else:
        # Without times of words the letters tell, which is right within a second or two.
        count = 0
        start = line.start + (line.end - line.start) * len(before) / len(before + after)
        end = start
    first, second = _parted(line.machine_text or line.text, len(before) / len(before + after))
    return (
        replace(line, end=end, text=before, words=words[:count], machine_text=first),
        replace(line, start=start, text=after, words=words[count:], machine_text=second),
    )


def joined(first: Line, second: Line) -> Line:
    """Join two lines that follow each other; the first one's speaker says both."""
    has_words = bool(first.words and second.words)
    return Line(
        start=first.start,
        end=max(first.end, second.end),
        text=glued([first.text, second.text]),
        speaker=first.speaker,
        doubt=first.doubt or second.doubt,
        timing=first.timing if first.timing == second.timing else "aligned",
        words=[*first.words, *second.words] if has_words else [],
        machine_text=glued([first.recognized, second.recognized]),
    )


def replaced(text: str, find: str, by: str, *, match_case: bool, whole_words: bool) -> str:
    """Return a text with every occurrence of `find` replaced by `by`, both taken literally."""
    pattern = re.escape(find)
    if whole_words:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return re.sub(pattern, lambda _: by, text, flags=0 if match_case else re.IGNORECASE)


def _parted(text: str, share: float) -> tuple[str, str]:
    """Part a text near a share of its length, between two words where there are some."""
    middle = round(len(text) * share)
    spaces = [found.start() for found in re.finditer(r"\s", text)]
    at = min(spaces, key=lambda place: abs(place - middle)) if spaces else middle
    return text[:at].strip(), text[at:].strip()


def _words_within(words: Words, text: str) -> int:
    """Return how many words a text that begins with them holds."""
    left = len("".join(text.split()))
    for count, word in enumerate(words):
        if left <= 0:
            return count
        left -= len("".join(str(word[2]).split()))
    return len(words)
