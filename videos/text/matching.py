"""Which words of a text were looked for: as typed, without accents, or by their stems. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from videos.text import terms

#: The beginning that words of one stem share: at least so many letters, and this share of it.
_MIN_STEM, _STEM_SHARE = 4, 0.75
_WORD = re.compile(r"\w+")


class Sought:
    """The words of a query, and what they may have been meant to be."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = [(word, *_forms(word)) for word in dict.fromkeys(words)]

    def fit(self, said: str) -> int:
        """Return how many letters a word has in common with what was looked for; 0: none."""
        return max((_fit(said, terms.bare(said), *sought) for sought in self._words), default=0)

    def letters(self, text: str) -> int:
        """Return how many letters of what was looked for are said in a text."""
        said = [(word, terms.bare(word)) for word in terms.words(text)]
        return sum(
            max((_fit(*word, *sought) for word in said), default=0) for sought in self._words
        )

    def marked(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield the text in pieces, each with whether it was looked for."""
        done = 0
        for start, end in self._stretches(text):
            if start > done:
                yield text[done:start], False
            yield text[start:end], True
            done = end
        if done < len(text):
            yield text[done:], False

    def _stretches(self, text: str) -> Iterator[tuple[int, int]]:
        for word in _WORD.finditer(text):
            if not any(map(terms.is_unspaced, word[0])):
                if any(map(self.fit, terms.words(word[0]))):
                    yield word.span()
                continue
            # Scripts without spaces: letters that stand in a pair that was looked for.
            start = end = word.start()
            for at in range(word.start(), word.end()):
                if not self.fit(text[at : at + 2] if at + 1 < word.end() else text[at]):
                    continue
                if at > end:
                    if end > start:
                        yield start, end
                    start = at
                end = min(at + 2, word.end())
            if end > start:
                yield start, end


def _forms(word: str) -> tuple[str, str]:
    """Return a word without accents, and the stem by which it may be found; "" for none."""
    bare = terms.bare(word)
    stem = bare[: max(_MIN_STEM, int(len(bare) * _STEM_SHARE))]
    return bare, stem if len(stem) >= _MIN_STEM or terms.is_unspaced(stem) else ""


def _fit(said: str, said_bare: str, sought: str, bare: str, stem: str) -> int:
    """Return the letters of a word that fits: best as typed, else bare, or by its stem."""
    if said == sought:
        return len(sought) + 1
    if said_bare == bare:
        return len(bare)
    return len(stem) if stem and said_bare.startswith(stem) else 0
