"""Search: passages by their words and by their vectors, fused; hits name the second.

Words are weighed by how rare they are, and count also where they stand in the passages around;
vectors count the more, the fewer of the query's words are said.
"""

from __future__ import annotations

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from videos.ai import rerank
from videos.conf import conf
from videos.models import Video
from videos.search.hits import Hit, Why, hits
from videos.search.reranking import RERANKED, reranked
from videos.search.scope import scope, spoken_by, with_speaker
from videos.search.vectors import Asked, Nearest, by_vector, embedded
from videos.search.words import ByWords, by_words
from videos.text import ranking, terms
from videos.text.matching import Sought

__all__ = ["MODES", "Hit", "Why", "search"]

MODES = ("hybrid", "vector", "text")
#: Vectors that are looked at, for every hit that is asked for.
_VECTORS_PER_HIT = 20
#: The share of a query that is said at one place at least. Of queries for what nobody says in 48
#: hours of talks, 88% have less of it, and vectors below their floor; of those that were answered
#: rightly, 2% (docs/figures.md).
_FLOOR_OF_WORDS = 0.4
#: Where no vector can tell, less is asked for.
_FLOOR_OF_WORDS_ALONE = 0.25
#: Of a query; what is typed is shorter.
_MAX_CHARACTERS = 10_000


def search(
    query: str,
    videos: QuerySet[Video],
    limit: int = 10,
    mode: str = "hybrid",
    speaker: str = "",
) -> list[Hit]:
    """Return the moments in these videos that fit the query, best first.

    Only completed revisions are searched. Where the embedding service fails, or may not be
    called now, a hybrid search goes on with the words alone. With a speaker, in upper or lower
    case, only what they say is found.

    Raises:
        ValueError: for an unknown mode.
        ChronosError: if the mode is "vector" and the embedding service fails.
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}")
    query = _readable(query)
    if not query or limit < 1:
        return []
    try:
        within = scope(with_speaker(videos, speaker) if speaker else videos)
    except EmptyResultSet:  # By its own words, as for a user who may see nothing.
        return []
    asked = embedded(query, is_needed=mode == "vector") if mode != "text" else None
    near = by_vector(asked, within, limit * _VECTORS_PER_HIT) if asked else Nearest([], 0.0)
    words = terms.query_words(query)
    said = by_words(words, within) if mode != "vector" else ByWords({}, {}, words)
    if not _is_said(said, near, asked):
        return []
    ranks = [place.id for place in near.places]
    places = {place.id: place for place in near.places} | said.passages
    scores = ranking.fused(said.shares, ranks)
    sought = Sought(said.looked_for)
    if speaker:
        theirs = spoken_by(speaker, places.values())
        # Of words that were found there, it has to be the speaker who says one.
        scores = {
            key: score
            for key, score in scores.items()
            if key in theirs and (key not in said.shares or sought.letters(theirs[key]))
        }
    is_reranked = mode == "hybrid" and rerank.is_available()
    best = ranking.best(scores, places, max(limit, RERANKED) if is_reranked else limit)
    found = hits(best, said.shares, ranks, sought, speaker)
    return reranked(query, found)[:limit] if is_reranked and found else found


def _is_said(said: ByWords, near: Nearest, asked: Asked | None) -> bool:
    """Whether anything that is found can be meant by the query."""
    share = max(said.shares.values(), default=0.0)
    if asked is None:
        return share >= _FLOOR_OF_WORDS_ALONE
    floor = conf().similarity_floors.get(asked.model.model)
    return floor is None or share >= _FLOOR_OF_WORDS or near.similarity >= floor


def _readable(query: str) -> str:
    return " ".join(
        query[:_MAX_CHARACTERS].replace("\0", " ").encode(errors="replace").decode().split()
    )
