"""Ranking moments: words by how much they tell, windows, phrases, and vectors beside them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from uuid import UUID

#: What a word counts that is said in the passage beside, and in the one after that.
_NEAR, _NEARBY = 0.5, 0.2
#: Passages that a word is taken to lack, before any are counted.
_SEEN = 1_000
#: What a phrase that is said as it was typed is worth, in all words of the query.
_PHRASE = 0.6
#: Rank of a vector whose weight is half of the first's.
_HALF_RANK = 3
#: Of a query so much of which is said, vectors change nothing any more; where nothing of it is,
#: the nearest counts as much as all words would.
_SAID, _UNSAID = 0.5, 2.0
#: What is said of the query at a hit, as a share of what is at the best.
_WORTH = 0.4
#: Seconds within which one hit stands for all.
_ONE_HIT_S = 30.0


@dataclass(frozen=True)
class Place:
    """A passage as rankings know it: its segments by their indexes, its bounds in seconds."""

    id: int
    revision_id: UUID
    chunk_id: UUID
    first_segment: int
    last_segment: int
    start: float
    end: float


def idf(passages: int, of_all: int) -> float:
    """Return how much a word tells that is said in so many of all passages.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), 3.1,
    with 1 added, so that it never is negative. Passages are of one length: of BM25's formula the
    rest is nearly constant. Of few passages little can be told: it is as if many had been seen
    that lack the word.
    """
    lacking = max(of_all - passages, 0) + _SEEN
    return math.log(1 + (lacking + 0.5) / (passages + 0.5))


def by_words(
    found: Sequence[tuple[Place, Sequence[float]]], weights: Sequence[float]
) -> dict[int, float]:
    """Return which share of the query is said in each passage and around it, 0 to 1, by its id.

    Args:
        found: passages, with how well each word of the query fits (0: not said, 1: as typed).
        weights: how much each word tells.
    """
    whole = sum(weights) or 1.0
    shares = {}
    in_order = sorted(found, key=lambda row: (row[0].revision_id.int, row[0].first_segment))
    for position, (place, fits) in enumerate(in_order):
        around = [fits]
        for step in (-1, 1):
            last = place
            for beside, share in ((1, _NEAR), (2, _NEARBY)):
                other = position + step * beside
                if not 0 <= other < len(in_order) or not _adjoin(last, in_order[other][0]):
                    break
                last, its = in_order[other]
                around.append([share * fit for fit in its])
        best_fits = map(max, *around) if len(around) > 1 else fits
        shares[place.id] = sum(map(mul, best_fits, weights)) / whole
    return shares


def _adjoin(one: Place, other: Place) -> bool:
    """Whether no segment lies between two passages."""
    return (
        one.revision_id == other.revision_id
        and one.first_segment <= other.last_segment + 1
        and other.first_segment <= one.last_segment + 1
    )


def phrase(said: Sequence[str], query: Sequence[str]) -> float:
    """Return what is to be added for the longest run of the query's words said in this order."""
    if len(query) < 2:
        return 0.0
    places: dict[str, list[int]] = {}
    for place, word in enumerate(said):
        places.setdefault(word, []).append(place)
    longest = 0
    runs: dict[int, int] = {}
    for word in query:
        runs = {place: runs.get(place - 1, 0) + 1 for place in places.get(word, ())}
        longest = max(longest, *runs.values(), 0)
    share = max(longest - 1, 0) / (len(query) - 1)
    return _PHRASE * share**2


def fused(words: Mapping[int, float], vectors: Sequence[int]) -> dict[int, float]:
    """Return scores of the passages that either ranking has found, by their ids.

    Words say more than vectors where most of them are said; the fewer of them are, the more a
    vector's rank counts. Where words say all, what has much fewer of them than the best, or was
    found by its vector alone, is left out: who looks for a moment is not helped by others.

    Args:
        words: the share of the query that is said, and what phrases add.
        vectors: the nearest first.
    """
    most = max(words.values(), default=0.0)
    scores = {key: share for key, share in words.items() if share > _WORTH * most}
    room = _UNSAID * max(0.0, _SAID - most)
    for rank, key in enumerate(vectors if room else ()):
        near = _HALF_RANK / (_HALF_RANK + rank)
        scores[key] = words.get(key, 0.0) + room * near
    return scores


def best(
    scores: Mapping[int, float], places: Mapping[int, Place], limit: int
) -> list[tuple[Place, float]]:
    """Return the best passages; of those within half a minute of a revision, only the best."""
    chosen: list[tuple[Place, float]] = []
    taken: dict[UUID, list[float]] = {}
    for key, score in sorted(scores.items(), key=lambda entry: (-entry[1], entry[0])):
        if len(chosen) >= limit:
            break
        place = places[key]
        near = taken.setdefault(place.revision_id, [])
        if all(abs(place.start - other) > _ONE_HIT_S for other in near):
            near.append(place.start)
            chosen.append((place, score))
    return chosen
