"""Which stretches of a text hold the words that were looked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"\w+")
#: The beginning that a word of the text must share with one that was asked for: stems differ in
#: their endings alone.
_MIN_STEM = 4
_STEM_SHARE = 0.75


def highlighted(text: str, query: str) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, each with whether it is a word that was asked for."""
    wanted = {word.casefold() for word in _WORD.findall(query)}
    stems = tuple(word[: max(_MIN_STEM, int(len(word) * _STEM_SHARE))] for word in wanted)
    done = 0
    for word in _WORD.finditer(text):
        folded = word[0].casefold()
        is_wanted = folded in wanted or (len(folded) >= _MIN_STEM and folded.startswith(stems))
        if stems and is_wanted:
            if word.start() > done:
                yield text[done : word.start()], False
            yield word[0], True
            done = word.end()
    if done < len(text):
        yield text[done:], False
