"""Search: passages by their words and by their vectors, fused; hits name the second.

Words are weighed by how rare they are, and count also where they stand in the passages around;
vectors count the more, the fewer of the query's words are said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db.models import Q, QuerySet

from videos.conf import conf
from videos.models import Chunk, Segment, Video
from videos.search.scope import scope
from videos.search.vectors import Asked, Nearest, by_vector, embedded
from videos.search.words import ByWords, by_words
from videos.text import chunking, ranking, terms
from videos.text.ranking import Place

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
_SNIPPET_CHARACTERS = 240
#: Of a query; what is typed is shorter.
_MAX_CHARACTERS = 10_000
#: Segments before and after a passage that a snippet may be made of.
_RUN_UP, _RUN_ON = 4, 8
#: What may stand before the words that were found, for a snippet to begin with a sentence.
_RUN_UP_CHARACTERS = 100
#: The beginning that words of one stem share: at least so many letters, and this share of it.
_MIN_STEM, _STEM_SHARE = 4, 0.75


@dataclass(frozen=True)
class Why:
    """Why a moment was found."""

    #: The share of the query that is said there and around, 0 to 1, and what phrases add.
    words: float
    #: Its place among the nearest vectors, from 1; None where it is not among them.
    vector_rank: int | None


@dataclass(frozen=True)
class Hit:
    """A moment that fits the query; seconds are the segment's, higher scores are better."""

    video: Video
    segment: Segment
    chunk_index: int
    start: float
    end: float
    score: float
    snippet: str
    why: Why


def search(query: str, videos: QuerySet[Video], limit: int = 10, mode: str = "hybrid") -> list[Hit]:
    """Return the moments in these videos that fit the query, best first.

    Only completed revisions are searched. Where the embedding service fails, or may not be
    called now, a hybrid search goes on with the words alone.

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
        within = scope(videos)
    except EmptyResultSet:  # By its own words, as for a user who may see nothing.
        return []
    asked = embedded(query, is_needed=mode == "vector") if mode != "text" else None
    near = by_vector(asked, within, limit * _VECTORS_PER_HIT) if asked else Nearest([], 0.0)
    words = terms.query_words(query)
    said = by_words(words, within) if mode != "vector" else ByWords({}, {}, words)
    if not _is_said(said, near, asked):
        return []
    ranks = [place.id for place in near.places]
    passages = {place.id: place for place in near.places} | said.passages
    scores = ranking.fused(said.shares, ranks)
    return _hits(passages, scores, said, ranks, limit)


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


def _hits(
    passages: Mapping[int, Place],
    scores: Mapping[int, float],
    said: ByWords,
    near: Sequence[int],
    limit: int,
) -> list[Hit]:
    best = ranking.best(scores, passages, limit)
    chosen = [passage for passage, _ in best]
    chunks = Chunk.objects.select_related("revision__video").in_bulk(
        [passage.chunk_id for passage in chosen]
    )
    texts = _segments(chosen, chunks)
    ranks = {key: rank for rank, key in enumerate(near, start=1)}
    hits = []
    for passage, score in best:
        chunk = chunks.get(passage.chunk_id)
        segments = texts.get(passage.id)
        if chunk is None or not segments:  # Replaced meanwhile.
            continue
        before = sum(each.index < passage.first_segment for each in segments)
        inside = [each for each in segments[before:] if each.index <= passage.last_segment]
        if not inside:
            continue
        position = before + _best_segment([each.text for each in inside], said.looked_for)
        segment = segments[position]
        hits.append(
            Hit(
                video=chunk.revision.video,
                segment=segment,
                chunk_index=chunk.index,
                start=segment.start,
                end=segment.end,
                score=round(score, 6),
                snippet=_snippet(segments, position),
                why=Why(round(said.shares.get(passage.id, 0.0), 6), ranks.get(passage.id)),
            )
        )
    return hits


def _segments(
    passages: Sequence[Place], chunks: Mapping[object, Chunk]
) -> dict[int, list[Segment]]:
    """Return the segments of each passage, and some around it, by one query."""
    wanted = Q()
    transcripts = {}
    for passage in passages:
        chunk = chunks.get(passage.chunk_id)
        if chunk is not None:
            transcripts[passage.id] = chunk.revision.transcript_id
            wanted |= Q(
                transcript=chunk.revision.transcript_id,
                index__range=(passage.first_segment - _RUN_UP, passage.last_segment + _RUN_ON),
            )
    if not transcripts:
        return {}
    rows: dict[object, dict[int, Segment]] = {}
    for segment in Segment.objects.filter(wanted).order_by("index"):
        rows.setdefault(segment.transcript_id, {})[segment.index] = segment
    return {
        passage.id: [
            rows[transcripts[passage.id]][index]
            for index in range(passage.first_segment - _RUN_UP, passage.last_segment + _RUN_ON + 1)
            if index in rows.get(transcripts[passage.id], {})
        ]
        for passage in passages
        if passage.id in transcripts
    }


def _best_segment(texts: Sequence[str], looked_for: Sequence[str]) -> int:
    """Return the position of the text in which most of the words are; the first of equals."""
    fits = [_fitting(terms.words(text), looked_for) for text in texts]
    return fits.index(max(fits))


def _fitting(said: Sequence[str], looked_for: Sequence[str]) -> int:
    """Return how many letters of the words are said: best as typed, else bare, or their stems."""
    exact, bare = set(said), {terms.bare(word) for word in said}
    letters = 0
    for word in looked_for:
        folded = terms.bare(word)
        stem = folded[: max(_MIN_STEM, int(len(folded) * _STEM_SHARE))]
        if word in exact:
            letters += len(word) + 1
        elif folded in bare:
            letters += len(folded)
        elif (len(folded) >= _MIN_STEM or terms.is_unspaced(folded)) and any(
            each.startswith(stem) for each in bare
        ):
            letters += len(stem)
    return letters


def _snippet(segments: Sequence[Segment], position: int) -> str:
    """Return the segment's text from its sentence's beginning, and what follows in short."""
    text = segments[position].text
    for before in reversed(segments[:position]):
        if chunking.ends_sentence(before.text):
            break
        if len(before.text) + len(text) > len(segments[position].text) + _RUN_UP_CHARACTERS:
            break
        text = f"{before.text} {text}"
    for following in segments[position + 1 :]:
        if len(text) + len(following.text) >= _SNIPPET_CHARACTERS:
            break
        text += " " + following.text
    return text if len(text) <= _SNIPPET_CHARACTERS else text[: _SNIPPET_CHARACTERS - 1] + "…"
