"""Words as they are indexed and asked for: one form, however they were typed. Pure.

Accents come composed or not, letters as ligatures or in full width, and marks of direction and
soft hyphens are not seen at all. The stored text stays as it was said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import regex

from videos.text.counting import UNSPACED_SCRIPTS

#: Of a word that is longer, the beginning is looked for; a lexeme has at most 2,046 bytes.
_MAX_CHARACTERS = 100
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_ASCII_WORD = re.compile("[a-z0-9]+")
_RUN = regex.compile(f"([{UNSPACED_SCRIPTS}]+)")
_ACCENTS = regex.compile(r"[\u0300-\u036F]")
_BOUNDARY = " "


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, with their accents, in order.

    Where no spaces are written (Chinese, Japanese, Thai, …), each pair of neighbors counts as a
    word, and the last letter of a run as one of its own.
    """
    return list(_words(text, is_query=False))


def query_words(text: str) -> list[str]:
    """Return the words of a query; as `words`, but of a run of two letters or more only pairs."""
    return list(_words(text, is_query=True))


def bare(word: str) -> str:
    """Return a word without its accents, as one types it who has no key for them."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).casefold()


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script that is written without spaces."""
    return _RUN.match(word) is not None


def trigrams(word: str) -> set[str]:
    """Return all runs of three characters in a word with its bounds, as pg_trgm counts them."""
    padded = f"{_BOUNDARY * 2}{word}{_BOUNDARY}"
    return {padded[at : at + 3] for at in range(len(padded) - 2)}


def _words(text: str, *, is_query: bool) -> Iterator[str]:
    if text.isascii():
        yield from (word[:_MAX_CHARACTERS] for word in _ASCII_WORD.findall(text.lower()))
        return
    composed = unicodedata.normalize("NFKC", text)
    visible = "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")
    for word in _WORD.findall(visible.lower()):
        for piece in _RUN.split(word):
            if not _RUN.match(piece):
                if piece:
                    yield piece[:_MAX_CHARACTERS]
                continue
            yield from (piece[at : at + 2] for at in range(len(piece) - 1))
            if len(piece) == 1 or not is_query:
                yield piece[-1]
