"""Sentences of an answer that say where they come from; the others are dropped. Pure.

A sentence ends with the numbers of the excerpts that say so: `Water boils at 100 °C. [2][3]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

_CITATIONS = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
#: A sentence with what closes it; its citations stand before or after its sign.
_SENTENCE = re.compile(
    r"[^.!?。！？।؟]*(?:[.!?。！？।؟](?=\w)[^.!?。！？।؟]*)*[.!?。！？।؟]*[\"'”’)]*(?:\s*\[[\d,\s]+\])*"
    r"[.!?。！？।؟]*"
)


class Cited(NamedTuple):
    """A sentence without its marks, and the excerpts that it names."""

    text: str
    sources: tuple[int, ...]


class CitedSentences:
    """Reads an answer of one sentence a line, piece by piece."""

    def __init__(self, known: Collection[int]) -> None:
        self._known = known
        self._line = ""

    def feed(self, piece: str) -> Iterator[Cited]:
        """Yield the sentences that a piece completes."""
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            yield from self._cited(line)

    def end(self) -> Iterator[Cited]:
        """Yield what was left at the end."""
        line, self._line = self._line, ""
        yield from self._cited(line)

    def _cited(self, line: str) -> Iterator[Cited]:
        for found in _SENTENCE.finditer(line):
            sentence = found[0]
            named = [int(n) for group in _CITATIONS.findall(sentence) for n in group.split(",")]
            sources = tuple(dict.fromkeys(number for number in named if number in self._known))
            text = " ".join(_CITATIONS.sub("", sentence).split())
            text = re.sub(r"\s+([.!?,;:])", r"\1", text).lstrip("-*• ")
            if sources and re.search(r"\w", text):
                yield Cited(text, sources)
