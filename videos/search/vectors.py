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

#: A chunk's id, a passage's first segment (None: the whole chunk), and the cosine distance.
_Row = tuple[UUID, int | None, float]

logger = logging.getLogger(__name__)

#: Nobody waits longer for an answer; the words alone give one at once.
_QUERY_TIMEOUT_S = 10.0
#: What the index of signs finds is compared in full: so many times what is wanted.
_OVERSAMPLED = 4
#: pgvector's highest `hnsw.ef_search`.
_MAX_EF_SEARCH = 1_000
_PASSAGES = f"""
    SELECT passage.id, revision_id, chunk_id, first_segment, last_segment, start, "end"
    FROM {Passage._meta.db_table} passage WHERE chunk_id = ANY(%s)
    """


@dataclass(frozen=True)
class Asked:
    """A query as a vector, and the model that made it, which made those of passages, too."""

    vector: HalfVector
    model: ServingModel

    @property
    def compared(self) -> str:
        """The numbers of the vector that are compared with those of passages, as text."""
        numbers = self.vector.to_list()[: self.model.passage_dimensions]
        return HalfVector(numbers).to_text()


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


def _nearest(asked: Asked, scope: Scope, candidates: int) -> list[_Row]:
    """Return the nearest rows: of few videos and without an index all are compared."""
    with transaction.atomic(), connection.cursor() as cursor:
        if scope.is_few or not _has_index(cursor, asked.model):
            return _by_all(cursor, asked, scope, candidates)
        found = _by_index(cursor, asked, scope, candidates)
        # It gives up after `hnsw.max_scan_tuples`, also where none of them was wanted.
        return found if len(found) >= candidates else _by_all(cursor, asked, scope, candidates)


def _by_all(cursor: CursorWrapper, asked: Asked, scope: Scope, candidates: int) -> list[_Row]:
    compared = asked.model.compared
    cursor.execute(
        f"""
        WITH theirs AS MATERIALIZED (
            SELECT e.chunk_id, e.segment_index, {compared} <=> %s::halfvec AS distance
            FROM videos_embedding e JOIN videos_chunk c ON c.id = e.chunk_id
            WHERE e.model = %s AND e.dimensions = %s AND c.revision_id IN ({scope.sql})
        )
        SELECT * FROM theirs ORDER BY distance LIMIT %s
        """,
        [asked.compared, asked.model.model, asked.model.dimensions, *scope.params, candidates],
    )
    rows: list[_Row] = cursor.fetchall()
    return rows


def _by_index(cursor: CursorWrapper, asked: Asked, scope: Scope, candidates: int) -> list[_Row]:
    """Ask the HNSW index; where it knows the signs of numbers alone, compare more in full."""
    model = asked.model
    distance = f"{model.compared} <=> %s::halfvec"
    order, found = distance, candidates
    if model.is_indexed_by_bits:
        bits = f"bit({model.passage_dimensions})"
        order = (
            f"(binary_quantize({model.compared})::{bits}) <~> binary_quantize(%s::halfvec)::{bits}"
        )
        found *= _OVERSAMPLED
    # Without it a filtered HNSW scan returns too few rows (pgvector, "Iterative Index Scans").
    cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    cursor.execute(f"SET LOCAL hnsw.ef_search = {min(found, _MAX_EF_SEARCH)}")
    cursor.execute(
        f"""
        WITH nearest AS MATERIALIZED (
            SELECT e.chunk_id, e.segment_index, {distance} AS distance
            FROM videos_embedding e JOIN videos_chunk c ON c.id = e.chunk_id
            WHERE e.model = %s AND e.dimensions = %s AND c.revision_id IN ({scope.sql})
            ORDER BY {order} LIMIT %s
        )
        SELECT * FROM nearest ORDER BY distance LIMIT %s
        """,
        [
            *(asked.compared, model.model, model.dimensions, *scope.params),
            *(asked.compared, found, candidates),
        ],
    )
    rows: list[_Row] = cursor.fetchall()
    # They would last as long as a transaction around this one.
    cursor.execute("SET LOCAL hnsw.iterative_scan = DEFAULT; SET LOCAL hnsw.ef_search = DEFAULT")
    return rows


def _has_index(cursor: CursorWrapper, model: ServingModel) -> bool:
    cursor.execute(
        "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid",
        [model.index_name],
    )
    return cursor.fetchone() is not None


def _passages(chunk_ids: set[UUID]) -> dict[UUID, dict[int | None, Place]]:
    """Return the passages of chunks, by their first segments."""
    found: dict[UUID, dict[int | None, Place]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_PASSAGES, [list(chunk_ids)])
        for row in cursor.fetchall():
            passage = Place(*row)
            found[passage.chunk_id][passage.first_segment] = passage
    return found
