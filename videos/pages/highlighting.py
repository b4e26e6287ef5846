"""Which stretches of a text were looked for, and which differ from another text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

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


def compared(before: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of two texts: ("", what both have), ("del", …) and ("ins", …)."""
    old, new = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (before, after))
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield "", "".join(old[a:b])
            continue
        if a < b:
            yield "del", "".join(old[a:b])
        if c < d:
            yield "ins", "".join(new[c:d])
