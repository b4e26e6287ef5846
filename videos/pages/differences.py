"""Which stretches of a text differ from another text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher


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
