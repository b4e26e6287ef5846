"""What stands between two texts that follow each other, in any script. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from videos.text.counting import UNSPACED_SCRIPTS

_SCRIPT_WITHOUT_SPACES = regex.compile(f"[{UNSPACED_SCRIPTS}]")


def glued(texts: Sequence[str]) -> str:
    """Return texts that follow each other as one."""
    joined = ""
    for text in texts:
        joined += glue_between(joined, text) + text if text else ""
    return joined


def glue_between(before: str, after: str) -> str:
    """Return what stands between two texts: nothing inside a script that uses no spaces."""
    if not before:
        return ""
    if after[:1].isascii():
        return " "
    unspaced = _SCRIPT_WITHOUT_SPACES
    punctuation = before[-1] in "。！？、，」』"
    if (unspaced.match(before[-1]) or punctuation) and unspaced.match(after[0]):
        return ""
    return " "
