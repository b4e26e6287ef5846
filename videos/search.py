"""Search: Postgres full text and vector distance, fused by rank; hits name the second.

Chunks are minutes long. Of a chunk that was found, the hit names the segment that fits best:
by the query's words in it, and by the vector of the passage around it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from pgvector import HalfVector

from videos.ai import providers
from videos.durable import paid_calls
from videos.durable.paid_calls import PaidCall
from videos.exceptions import ChronosError
from videos.models import Call, Chunk, Segment, ServingModel, Video
from videos.text.counting import estimate_tokens
from videos.text.ranking import best_segment, fuse
from videos.text.search_vector import (
    BARE,
    BARE_CONFIG,
    BARE_TEXT,
    EXACT,
    EXACT_TEXT,
    bare_query,
    exact_query,
    plain,
)

logger = logging.getLogger(__name__)

MODES = ("hybrid", "vector", "text")
#: Rows that each ranking contributes to the fusion, for every hit that is asked for.
_CANDIDATES_PER_HIT = 20
_SNIPPET_CHARACTERS = 240
#: Nobody waits longer for an answer; the words alone give one at once.
_QUERY_TIMEOUT_S = 10.0
#: Of a query; Postgres has no stack for tens of thousands.
_MAX_WORDS = 300
#: Of a segment, to be looked for words: a tsvector holds no more than a megabyte.
_MAX_CHARACTERS = 20_000

#: The configurations that there are, each found by one step in their index.
_TEXT_CONFIGS = """
    WITH RECURSIVE found AS (
        SELECT min(text_config) AS name FROM videos_chunk
        UNION ALL
        SELECT (SELECT min(text_config) FROM videos_chunk WHERE text_config > found.name)
        FROM found WHERE found.name IS NOT NULL
    )
    SELECT name FROM found WHERE name IS NOT NULL
    """
#: Chunks by cover density (PostgreSQL docs, 12.3.3), divided by itself + 1 to be below 1.
_RANKED = """
    SELECT c.id, ts_rank_cd(c.search, query, 32) AS rank
    FROM videos_chunk c, (SELECT {query} AS query) AS words
    WHERE {which} c.search @@ query AND c.revision_id IN ({revisions})
    ORDER BY rank DESC, c.id LIMIT %s
    """


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


#: A query for the ids of revisions, and its parameters.
_Revisions = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class _Query:
    text: str
    vector: HalfVector | None
    model: ServingModel | None


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
    words = plain(query.replace("\0", " ").encode(errors="replace").decode()).split()
    query = " ".join(words[:_MAX_WORDS])
    if not query or limit < 1:
        return []
    try:
        revisions = _revisions(videos)
    except EmptyResultSet:  # By its own words, as for a user who may see nothing.
        return []
    serving = ServingModel.objects.first() if mode != "text" else None
    asked = _Query(query, _query_vector(query, serving, mode), serving)
    candidates = limit * _CANDIDATES_PER_HIT
    rankings = []
    if asked.vector is not None:
        rankings.append(_by_vector(asked, revisions, candidates))
    if mode != "vector":
        rankings.append(_by_words(asked, revisions, candidates))
    best = fuse(rankings)[:limit]
    return _hits(asked, best)


def _query_vector(query: str, serving: ServingModel | None, mode: str) -> HalfVector | None:
    if serving is None:
        return None
    with closing(providers.embedder()) as embedder:
        ask = partial(embedder.embed, [query], dimensions=serving.dimensions)
        paid = PaidCall(Call.Service.EMBEDDING, serving.model, estimate_tokens(query), ask)
        try:
            embedded = paid_calls.make_query(paid, _QUERY_TIMEOUT_S)
        except ChronosError as error:
            if mode == "vector":
                raise
            logger.warning("The search goes on with words alone: %s", error)
            return None
    return HalfVector(embedded.vectors[0])


def _revisions(videos: QuerySet[Video]) -> _Revisions:
    """Return the query of the revisions in force.

    Raises:
        EmptyResultSet: if no video can be among them.
    """
    in_force = videos.exclude(revision=None).order_by().values("revision_id")
    return in_force.query.sql_with_params()


def _by_vector(asked: _Query, within: _Revisions, candidates: int) -> list[UUID]:
    """Rank chunks by their nearest vector, be it the chunk's own or a passage's."""
    assert asked.model is not None
    revisions, params = within
    distance = f"e.vector::halfvec({int(asked.model.dimensions)}) <=> %s::halfvec"
    vector = asked.vector.to_text() if asked.vector else ""
    query = f"""
        SELECT e.chunk_id FROM videos_embedding e
        JOIN videos_chunk c ON c.id = e.chunk_id
        WHERE e.model = %s AND e.dimensions = %s AND c.revision_id IN ({revisions})
        ORDER BY {distance} LIMIT %s
        """
    values = [asked.model.model, asked.model.dimensions, *params, vector, candidates]
    with transaction.atomic(), connection.cursor() as cursor:
        # Without it a filtered HNSW scan returns too few rows (pgvector, "Iterative Index Scans").
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        cursor.execute(query, values)
        found = cursor.fetchall()
        if len(found) < candidates and _has_index(cursor, asked.model):
            # It gives up after `hnsw.max_scan_tuples`, also where none of them was wanted.
            cursor.execute("SET LOCAL enable_indexscan = off")
            cursor.execute(query, values)
            found = cursor.fetchall()
            cursor.execute("SET LOCAL enable_indexscan = DEFAULT")
        # They would last as long as a transaction around this one.
        cursor.execute("SET LOCAL hnsw.iterative_scan = DEFAULT")
    return list(dict.fromkeys(row[0] for row in found))


def _has_index(cursor: CursorWrapper, model: ServingModel) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [model.index_name])
    return bool(cursor.fetchone()[0])


def _by_words(asked: _Query, within: _Revisions, candidates: int) -> list[UUID]:
    """Rank chunks by how closely the query's words stand in them.

    Where no word is found, all of them are looked for as they are typed: stop words as well, and
    without accents.
    """
    revisions, params = within
    with connection.cursor() as cursor:
        cursor.execute(_TEXT_CONFIGS)
        ranked: list[tuple[UUID, float]] = []
        for (config,) in cursor.fetchall():
            cursor.execute(
                _RANKED.format(
                    query=exact_query("%s"), which="c.text_config = %s AND", revisions=revisions
                ),
                [config, asked.text, config, *params, candidates],
            )
            ranked += cursor.fetchall()
        if not ranked:
            cursor.execute(
                _RANKED.format(query=bare_query(joined_by=" & "), which="", revisions=revisions),
                [asked.text, *params, candidates],
            )
            ranked = cursor.fetchall()
    return [chunk for chunk, _ in sorted(ranked, key=lambda row: -row[1])[:candidates]]


def _hits(asked: _Query, best: Sequence[tuple[UUID, float]]) -> list[Hit]:
    """Load the chunks that were found, and choose a segment in each: three queries in all."""
    ids = [chunk_id for chunk_id, _ in best]
    chunks = Chunk.objects.select_related("revision__video").in_bulk(ids)
    words = _segments_by_words(asked, ids)
    passages = _passages_by_vector(asked, ids)
    hits = []
    for chunk_id, score in best:
        chunk, segments = chunks.get(chunk_id), words.get(chunk_id)
        if chunk is None or not segments:
            continue
        position = best_segment(
            [rank for _, rank in segments], passages.get(chunk_id, []), chunk.first_segment
        )
        segment = segments[position][0]
        hits.append(
            Hit(
                video=chunk.revision.video,
                segment=segment,
                chunk_index=chunk.index,
                start=segment.start,
                end=segment.end,
                score=round(score, 6),
                snippet=_snippet([entry for entry, _ in segments], position),
            )
        )
    return hits


def _segments_by_words(
    asked: _Query, chunk_ids: Sequence[UUID]
) -> dict[UUID, list[tuple[Segment, float]]]:
    beginning = f"left(s.text, {_MAX_CHARACTERS})"
    rows = Segment.objects.raw(
        f"""
        SELECT s.*, c.id AS chunk_id, ts_rank_cd(
            setweight(to_tsvector(c.text_config::regconfig, {EXACT_TEXT.format(text=beginning)}),
                '{EXACT}')
            || setweight(to_tsvector('{BARE_CONFIG}', {BARE_TEXT.format(text=beginning)}),
                '{BARE}'),
            COALESCE({exact_query("c.text_config")}, '') || COALESCE({bare_query()}, '')
        ) AS rank
        FROM videos_chunk c
        JOIN videos_revision r ON r.id = c.revision_id
        JOIN videos_segment s ON s.transcript_id = r.transcript_id
            AND s.index BETWEEN c.first_segment AND c.last_segment
        WHERE c.id = ANY(%s) ORDER BY s.index
        """,
        [asked.text, asked.text, list(chunk_ids)],
    )
    found: dict[UUID, list[tuple[Segment, float]]] = {}
    for row in rows:
        moment = (row, row.rank)  # type: ignore[attr-defined]
        found.setdefault(row.chunk_id, []).append(moment)  # type: ignore[attr-defined]
    return found


def _passages_by_vector(
    asked: _Query, chunk_ids: Sequence[UUID]
) -> dict[UUID, list[tuple[int, float]]]:
    """Return the passages of each chunk in order: (first segment, similarity)."""
    if asked.vector is None or asked.model is None:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT chunk_id, segment_index,
                -- The vector of a text without any known word may be zero: near to nothing.
                1 - COALESCE(NULLIF(vector <=> %s::halfvec, 'NaN'), 1)
            FROM videos_embedding
            WHERE chunk_id = ANY(%s) AND segment_index IS NOT NULL
                AND model = %s AND dimensions = %s
            ORDER BY segment_index
            """,
            [
                asked.vector.to_text(),
                list(chunk_ids),
                asked.model.model,
                asked.model.dimensions,
            ],
        )
        found: dict[UUID, list[tuple[int, float]]] = {}
        for chunk_id, segment_index, similarity in cursor.fetchall():
            found.setdefault(chunk_id, []).append((segment_index, similarity))
    return found


def _snippet(segments: Sequence[Segment], position: int) -> str:
    """Return the segment's text, and what follows while it is short."""
    text = segments[position].text
    for following in segments[position + 1 :]:
        if len(text) + len(following.text) >= _SNIPPET_CHARACTERS:
            break
        text += " " + following.text
    return text if len(text) <= _SNIPPET_CHARACTERS else text[: _SNIPPET_CHARACTERS - 1] + "…"
