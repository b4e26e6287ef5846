"""What a word may have been meant to be: the nearest of the words that were said. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Words that are shorter have too many neighbors.
MIN_CHARACTERS = 4
_SHORT, _MIDDLE = 6, 10
_MAX_SUGGESTIONS = 2
#: What a word that begins alike, or is said ten times as often, is ahead by, in shares of the
#: word that are spelled right.
_SAME_BEGINNING = 0.05
_TENFOLD = 0.046


def suggestions(word: str, known: Mapping[str, int]) -> list[str]:
    """Return up to two known words within a few slips of `word`, the likeliest first.

    Args:
        word: as it was typed, in the form of `terms.bare`.
        known: words, and how often they are said.
    """
    slips_allowed = 1 if len(word) <= _SHORT else 2 if len(word) <= _MIDDLE else 3
    ranked = []
    for other, count in known.items():
        if abs(len(other) - len(word)) > slips_allowed:
            continue
        slips = distance(word, other)
        if slips <= slips_allowed:
            likeness = 1 - slips / len(word) + _TENFOLD * math.log10(max(count, 1))
            ranked.append((likeness + _SAME_BEGINNING * (other[:1] == word[:1]), other))
    return [other for _, other in sorted(ranked, key=lambda row: (-row[0], row[1]))][
        :_MAX_SUGGESTIONS
    ]


def distance(one: str, other: str) -> int:
    """Return how many slips make one word of another: letters dropped, added, wrong, swapped.

    Optimal string alignment: Boytsov, "Indexing methods for approximate dictionary searching",
    ACM Journal of Experimental Algorithmics 16 (2011), section 2.1.
    """
    before, last, row = [0] * (len(other) + 1), [0] * (len(other) + 1), list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        before, last, row = last, row, [at, *[0] * len(other)]
        for place, wanted in enumerate(other, start=1):
            row[place] = min(
                last[place] + 1, row[place - 1] + 1, last[place - 1] + (letter != wanted)
            )
            is_swapped = (
                at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == wanted
            )
            if is_swapped:
                row[place] = min(row[place], before[place - 2] + 1)
    return row[-1]
