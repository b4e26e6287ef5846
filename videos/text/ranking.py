"""Joining several rankings into one: of chunks, and of the segments in a chunk. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

#: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
#: Rank Learning Methods", SIGIR 2009: k = 60 was near the optimum over all their collections.
RRF_K = 60
#: A word of the query in a segment says more about the second than the passage's vector.
_PASSAGE_WEIGHT = 0.8

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


def best_segment(
    ranks: Sequence[float], passages: Sequence[tuple[int, float]], first_segment: int
) -> int:
    """Return the position of the chunk's segment that fits best; the first of equals.

    `ranks` are those of its segments by words; a passage is (its first segment, similarity), and
    both count segments of the transcript, of which the chunk begins at `first_segment`.
    """
    by_words = _scaled(ranks)
    by_vector = [0.0] * len(ranks)
    for (first, _), scaled in zip(
        passages, _scaled([similarity for _, similarity in passages]), strict=True
    ):
        begin = first - first_segment
        by_vector[begin:] = [scaled] * (len(ranks) - begin)
    scores = [
        word + _PASSAGE_WEIGHT * vector for word, vector in zip(by_words, by_vector, strict=True)
    ]
    return max(range(len(scores)), key=lambda position: (scores[position], -position))


def _scaled(values: Sequence[float]) -> list[float]:
    """Bring values to 0..1, the greatest to 1; equal ones say nothing and are 0."""
    if not values or max(values) == min(values):
        return [0.0] * len(values)
    least, span = min(values), max(values) - min(values)
    return [(value - least) / span for value in values]
