"""The times of words in a changed text: words keep theirs where they stay. Pure; seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

#: Texts longer than this are compared word by word: comparing letters takes their product.
_MAX_COMPARED = 2_000

#: [start, end, word] each, in order.
Words = Sequence[Sequence[Any]]


def retimed(words: Words, said: str, text: str, within: tuple[float, float]) -> list[list[Any]]:
    """Return the words of a new text with times: the old ones' where words stayed.

    What is new lies between its neighbors. Without times of the old words there are none.

    Args:
        words: the old text's.
        said: the old text.
        text: the new one.
        within: when the line begins and ends in which it is said.
    """
    if not words:
        return []
    spans = _old_spans(words, said)
    owners = _owners(said, text, spans)
    tokens = list(_tokens(text, owners, is_spaced=_is_spaced(words, said)))
    times = [_times_of(words, owners[begin:end]) for begin, end in tokens]
    return _filled([text[begin:end] for begin, end in tokens], times, *within)


def _is_spaced(words: Words, text: str) -> bool:
    """Whether words are written with spaces between them."""
    return len(words) < 2 or len(text.split()) * 2 > len(words)


def _old_spans(words: Words, text: str) -> list[int | None]:
    """Return for each character of a text the word that it belongs to."""
    owners: list[int | None] = [None] * len(text)
    at = 0
    for number, word in enumerate(words):
        said = str(word[2]).strip()
        found = text.find(said, at) if said else -1
        if found < 0:
            continue
        owners[found : found + len(said)] = [number] * len(said)
        at = found + len(said)
    return owners


def _owners(old: str, new: str, spans: Sequence[int | None]) -> list[int | None]:
    """Return for each character of the new text the old word that it was part of."""
    owners: list[int | None] = [None] * len(new)
    if max(len(old), len(new)) <= _MAX_COMPARED:
        for same in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
            for step in range(same.size):
                owners[same.b + step] = spans[same.a + step]
        return owners
    olds, news = list(re.finditer(r"\S+", old)), list(re.finditer(r"\S+", new))
    matcher = SequenceMatcher(
        None, [each[0] for each in olds], [each[0] for each in news], autojunk=False
    )
    for same in matcher.get_matching_blocks():
        for step in range(same.size):
            begin, end = news[same.b + step].span()
            owner = spans[olds[same.a + step].start()]
            owners[begin:end] = [owner] * (end - begin)
    return owners


def _tokens(
    text: str, owners: Sequence[int | None], *, is_spaced: bool
) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text begin and end: between spaces, or where the owner changes."""
    for found in re.finditer(r"\S+", text):
        begin, end = found.span()
        if is_spaced:
            yield begin, end
            continue
        for at in range(begin + 1, end + 1):
            if at == end or owners[at] != owners[begin]:
                yield begin, at
                begin = at


def _times_of(words: Words, owners: Sequence[int | None]) -> tuple[float, float] | None:
    """Return the times of the old word that most of a new one was, if any of it was one."""
    known = [owner for owner in owners if owner is not None]
    if not known or len(known) * 2 < len(owners):
        return None
    return float(words[min(known)][0]), float(words[max(known)][1])


def _filled(
    tokens: Sequence[str],
    times: Sequence[tuple[float, float] | None],
    begins: float,
    ends: float,
) -> list[list[Any]]:
    """Give words without times what lies between their neighbors; times never run back."""
    filled: list[list[Any]] = []
    at, position = begins, 0
    while position < len(tokens):
        known = times[position]
        if known is not None:
            start = min(max(known[0], at), max(ends, at))
            end = max(known[1], start)
            filled.append([round(start, 3), round(end, 3), tokens[position]])
            at, position = end, position + 1
            continue
        known_from = position
        while known_from < len(tokens) and times[known_from] is None:
            known_from += 1
        following = times[known_from] if known_from < len(tokens) else None
        until = max(following[0] if following else ends, at)
        each = (until - at) / (known_from - position)
        for number in range(known_from - position):
            start = at + each * number
            filled.append([round(start, 3), round(start + each, 3), tokens[position + number]])
        at, position = until, known_from
    return filled
