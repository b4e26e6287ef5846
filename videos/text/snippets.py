"""What is shown of a moment, and where a player begins. Pure; times in seconds."""

from __future__ import annotations

from collections.abc import Sequence

from videos.text.captions import Cue
from videos.text.matching import Sought
from videos.text.sentences import ends_sentence

_MAX_CHARACTERS = 240
#: What may stand before the words that were found, for a snippet to begin with a sentence.
_RUN_UP_CHARACTERS = 100
#: A player begins with the sentence if it began so lately; else so long before the word.
_RUN_UP_S, _LEAD_S = 8.0, 1.0


def best_line(lines: Sequence[Cue], sought: Sought) -> int:
    """Return the position of the line in which most of the words are; the first of equals."""
    fits = [sought.letters(line.text) for line in lines]
    return fits.index(max(fits))


def snippet(lines: Sequence[Cue], position: int) -> str:
    """Return a line's text from its sentence's beginning, and what follows, in 240 characters."""
    text = lines[position].text
    for before in reversed(lines[:position]):
        if ends_sentence(before.text):
            break
        if len(before.text) + len(text) > len(lines[position].text) + _RUN_UP_CHARACTERS:
            break
        text = f"{before.text} {text}"
    for following in lines[position + 1 :]:
        if len(text) + len(following.text) >= _MAX_CHARACTERS:
            break
        text += " " + following.text
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


def second(line: Cue, sought: Sought) -> float:
    """Return when the first word of a line is said that was looked for; else the line's start.

    Words that have much less in common with the query than the best one do not count.
    """
    fits = [sought.letters(word) for _, _, word in line.words]
    worth = max(fits, default=0) / 2
    found = (word[0] for word, fit in zip(line.words, fits, strict=True) if fit and fit >= worth)
    return next(found, line.start)


def begin(lines: Sequence[Cue], position: int, at: float) -> float:
    """Return where a player is to begin, for one to hear what is said at a second of a line.

    That is the sentence's start, if it is less than eight seconds before; else a second before.
    """
    line = lines[position]
    starts = [
        line.words[number + 1][0]
        for number, (_, _, word) in enumerate(line.words[:-1])
        if line.words[number + 1][0] <= at and ends_sentence(word)
    ]
    sentence = starts[-1] if starts else _sentence_start(lines[: position + 1])
    if sentence is not None and at - sentence <= _RUN_UP_S:
        return sentence
    return max(at - _LEAD_S, 0.0)


def _sentence_start(lines: Sequence[Cue]) -> float | None:
    """Return the start of the sentence that the last line begins with; None: nobody knows."""
    for before, line in zip(reversed(lines[:-1]), reversed(lines), strict=False):
        if ends_sentence(before.text):
            return line.start
    return None
