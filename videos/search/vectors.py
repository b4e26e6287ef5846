"""Passages by the distance of their vectors from the query's."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from pgvector import HalfVector

from videos.ai import providers
from videos.durable import paid_calls
from videos.durable.paid_calls import PaidCall
from videos.exceptions import ChronosError
from videos.models import Call, Passage, ServingModel
from videos.search.scope import Scope
from videos.text.counting import estimate_tokens
from videos.text.ranking import Place

logger = logging.getLogger(__name__)

#: Nobody waits longer for an answer; the words alone give one at once.
_QUERY_TIMEOUT_S = 10.0
_PASSAGES = f"""
    SELECT passage.id, revision_id, chunk_id, first_segment, last_segment, start, "end"
    FROM {Passage._meta.db_table} passage WHERE chunk_id = ANY(%s)
    """


@dataclass(frozen=True)
class Asked:
    """A query as a vector, and the model that made it, which made those of passages, too."""

    vector: HalfVector
    model: ServingModel


@dataclass(frozen=True)
class Nearest:
    """Passages, the nearest first, and the cosine similarity of the first."""

    places: list[Place]
    similarity: float


def embedded(query: str, *, is_needed: bool) -> Asked | None:
    """Return the query's vector; None where nothing was embedded yet, or the service fails.

    Raises:
        ChronosError: if the service fails, and the vector is needed.
    """
    serving = ServingModel.objects.first()
    if serving is None:
        return None
    with closing(providers.embedder()) as embedder:
        ask = partial(embedder.embed, [query], dimensions=serving.dimensions)
        paid = PaidCall(Call.Service.EMBEDDING, serving.model, estimate_tokens(query), ask)
        try:
            answer = paid_calls.make_query(paid, _QUERY_TIMEOUT_S)
        except ChronosError as error:
            if is_needed:
                raise
            logger.warning("The search goes on with words alone: %s", error)
            return None
    return Asked(HalfVector(answer.vectors[0]), serving)


def by_vector(asked: Asked, scope: Scope, candidates: int) -> Nearest:
    """Return the nearest passages."""
    rows = _nearest(asked, scope, candidates)
    by_chunk = _passages({chunk_id for chunk_id, _, _ in rows})
    found: dict[int, Place] = {}
    similarity = 0.0
    for chunk_id, segment_index, distance in rows:
        inside = by_chunk[chunk_id]
        if segment_index is None:
            # A chunk of several passages has a vector of its own, which names no second.
            segment_index = next(iter(inside)) if len(inside) == 1 else None
        passage = inside.get(segment_index)
        if passage is not None:
            found.setdefault(passage.id, passage)
            # The vector of a text without any known word may be zero: near to nothing.
            similarity = max(similarity, 0.0 if math.isnan(distance) else 1 - distance)
    return Nearest(list(found.values()), similarity)


def _nearest(asked: Asked, scope: Scope, candidates: int) -> list[tuple[UUID, int | None, float]]:
    revisions, params = scope
    model = asked.model
    distance = f"e.vector::halfvec({int(model.dimensions)}) <=> %s::halfvec"
    query = f"""
        SELECT e.chunk_id, e.segment_index, {distance} FROM videos_embedding e
        JOIN videos_chunk c ON c.id = e.chunk_id
        WHERE e.model = %s AND e.dimensions = %s AND c.revision_id IN ({revisions})
        ORDER BY {distance} LIMIT %s
        """
    vector = asked.vector.to_text()
    values = [vector, model.model, model.dimensions, *params, vector, candidates]
    with transaction.atomic(), connection.cursor() as cursor:
        # Without it a filtered HNSW scan returns too few rows (pgvector, "Iterative Index Scans").
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        cursor.execute(query, values)
        found: list[tuple[UUID, int | None, float]] = cursor.fetchall()
        if len(found) < candidates and _has_index(cursor, model):
            # It gives up after `hnsw.max_scan_tuples`, also where none of them was wanted.
            cursor.execute("SET LOCAL enable_indexscan = off")
            cursor.execute(query, values)
            found = cursor.fetchall()
            cursor.execute("SET LOCAL enable_indexscan = DEFAULT")
        # They would last as long as a transaction around this one.
        cursor.execute("SET LOCAL hnsw.iterative_scan = DEFAULT")
    return found


def _has_index(cursor: CursorWrapper, model: ServingModel) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [model.index_name])
    return bool(cursor.fetchone()[0])


def _passages(chunk_ids: set[UUID]) -> dict[UUID, dict[int | None, Place]]:
    """Return the passages of chunks, by their first segments."""
    found: dict[UUID, dict[int | None, Place]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_PASSAGES, [list(chunk_ids)])
        for row in cursor.fetchall():
            passage = Place(*row)
            found[passage.chunk_id][passage.first_segment] = passage
    return found
