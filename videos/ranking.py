"""Joining several rankings into one. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

#: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
#: Rank Learning Methods", SIGIR 2009: k = 60 was near the optimum over all their collections.
RRF_K = 60

Item = TypeVar("Item", bound=Hashable)


def fuse(rankings: Iterable[Sequence[Item]], k: int = RRF_K) -> list[tuple[Item, float]]:
    """Return every item with its score Σ 1/(k + rank), best first; ranks begin at 1.

    Items of equal score keep the order in which they were first seen.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda entry: -entry[1])
