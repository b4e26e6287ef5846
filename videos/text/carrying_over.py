"""Putting what a person has changed into a new transcript of the same recording. Pure; seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from videos.text.correcting import Line, joined, rewritten
from videos.text.glue import glued
from videos.text.retiming import retimed

#: How far a line may begin or end from another that is taken for the same, in seconds.
_TOLERANCE_S = 0.75
_WORD = re.compile(r"\w+")


def carried_over(corrected: Sequence[Line], lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Put lines that a person has changed into a new transcript of the same recording.

    Returns:
        The new transcript's lines, and those of `corrected` that do not fit anywhere.
    """
    found = list(lines)
    unfit = []
    for line in corrected:
        first, last = _overlapping(found, line)
        put = _fitted(line, found[first:last])
        if put is None:
            unfit.append(line)
        else:
            found[first:last] = put
    return found, unfit


def _overlapping(lines: Sequence[Line], line: Line) -> tuple[int, int]:
    """Return the positions of the lines that share time with a line, and of the end of them."""
    inside = [
        position
        for position, other in enumerate(lines)
        if min(other.end, line.end) - max(other.start, line.start)
        > 0.5 * min(other.end - other.start, line.end - line.start)
    ]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _fitted(line: Line, others: Sequence[Line]) -> list[Line] | None:
    """Return what takes the place of the lines that overlap a corrected one; None: nothing fits."""
    if not others:
        return None
    said_each = [other.text for other in others]
    said = glued(said_each)
    texts = _shared_out(line.text, said_each)
    if all(map(_same_words, texts, said_each)):
        return [
            replace(_put_into(other, text), speaker=line.speaker or other.speaker)
            for other, text in zip(others, texts, strict=True)
        ]
    is_as_long = (
        abs(others[0].start - line.start) <= _TOLERANCE_S
        and abs(others[-1].end - line.end) <= _TOLERANCE_S
    )
    whole = others[0]
    for other in others[1:]:
        whole = joined(whole, other)
    if is_as_long:
        put = rewritten(whole, line.text)
        return [replace(put, speaker=line.speaker or put.speaker, machine_text=said)]
    mistake = rf"(?<!\w){re.escape(line.machine_text or '')}(?!\w)"
    if len(others) == 1 and line.machine_text and re.search(mistake, whole.text):
        return [rewritten(whole, re.sub(mistake, lambda _: line.text, whole.text, count=1))]
    return _cut_out(line, whole)


def _shared_out(text: str, others: Sequence[str]) -> list[str]:
    """Cut a text where others end that may have the same words: its signs and capitals stay."""
    words = list(_WORD.finditer(text))
    count, cuts = 0, [0]
    for other in others[:-1]:
        count += len(_WORD.findall(other))
        if 0 < count < len(words):
            after = words[count].start()
            space = text.find(" ", words[count - 1].end(), after)
            cuts.append(after if space < 0 else space)
        else:
            cuts.append(len(text) if count else 0)
    return [text[begin:end].strip() for begin, end in pairwise([*cuts, len(text)])]


def _put_into(line: Line, text: str) -> Line:
    """Return a recognized line with what a person has written; without words it stays as it is."""
    return line if text in ("", line.text) else rewritten(line, text)


def _cut_out(line: Line, whole: Line) -> list[Line] | None:
    """Put a line between what its words' times leave of a longer one before and after it."""
    words = whole.words
    if not words or not _same_words(_text_of(words), whole.text):
        return None
    before = [word for word in words if (word[0] + word[1]) / 2 < line.start]
    after = [word for word in words if (word[0] + word[1]) / 2 > line.end]
    inside = words[len(before) : len(words) - len(after)]
    put = []
    if before:
        put.append(_of_words(whole, before))
    said, within = _text_of(inside), (line.start, line.end)
    kept = retimed(inside, said, line.text, within)
    put.append(replace(line, speaker=line.speaker or whole.speaker, words=kept))
    if after:
        put.append(_of_words(whole, after))
    return put


def _of_words(whole: Line, words: list[list[Any]]) -> Line:
    return replace(
        whole,
        start=words[0][0],
        end=words[-1][1],
        text=_text_of(words),
        words=words,
        machine_text=None,
    )


def _text_of(words: list[list[Any]]) -> str:
    return glued([str(word[2]).strip() for word in words])


def _same_words(one: str, other: str) -> bool:
    """Whether two texts have the same words, however they are spelled with signs and capitals."""
    return _WORD.findall(one.casefold()) == _WORD.findall(other.casefold())
