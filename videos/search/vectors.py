"""Passages by the distance of their vectors from the query's."""

from __future__ import annotations

import logging
import math
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

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

#: The distance, and the columns of a `Place`: all None for what names no second.
_Row = tuple[Any, ...]

logger = logging.getLogger(__name__)

#: Nobody waits longer for an answer; the words alone give one at once.
_QUERY_TIMEOUT_S = 10.0
#: What the index of signs finds is compared in full: so many times what is wanted.
_OVERSAMPLED = 2
#: pgvector's highest `hnsw.ef_search`.
_MAX_EF_SEARCH = 1_000
_OF_ALL = """
    SELECT e.chunk_id, e.segment_index, c.first_segment, c.last_segment, {distance} AS distance
    FROM videos_embedding e JOIN videos_chunk c ON c.id = e.chunk_id
    WHERE e.model = %s AND e.dimensions = %s AND c.revision_id IN ({revisions})
    """
#: By the index of each chunk's vectors: whatever Postgres expects, all of a site's are more.
_OF_FEW = """
    SELECT e.chunk_id, e.segment_index, c.first_segment, c.last_segment, e.distance
    FROM videos_chunk c CROSS JOIN LATERAL (
        SELECT chunk_id, segment_index, {distance} AS distance FROM videos_embedding
        WHERE chunk_id = c.id AND model = %s AND dimensions = %s OFFSET 0
    ) AS e
    WHERE c.revision_id IN ({revisions})
    """
#: A chunk of one passage may have one vector for both; of other chunks, theirs names no second.
_PLACES = f"""
    WITH nearest AS MATERIALIZED ({{near}})
    SELECT distance, passage.id, revision_id, passage.chunk_id, passage.first_segment,
        passage.last_segment, passage.start, passage."end"
    FROM nearest LEFT JOIN {Passage._meta.db_table} AS passage
        ON passage.chunk_id = nearest.chunk_id
        AND passage.first_segment = coalesce(nearest.segment_index, nearest.first_segment)
        AND (nearest.segment_index IS NOT NULL OR passage.last_segment = nearest.last_segment)
    ORDER BY distance
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
    found: dict[int, Place] = {}
    similarity = 0.0
    for distance, *place in _nearest(asked, scope, candidates):
        if place[0] is not None:
            found.setdefault(place[0], Place(*place))
            # The vector of a text without any known word may be zero: near to nothing.
            similarity = max(similarity, 0.0 if math.isnan(distance) else 1 - distance)
    return Nearest(list(found.values()), similarity)


def _nearest(asked: Asked, scope: Scope, candidates: int) -> list[_Row]:
    """Return the nearest vectors' distances and passages; without an index all are compared."""
    with transaction.atomic(), connection.cursor() as cursor:
        if scope.is_few:
            return _compared(cursor, _OF_FEW, asked, scope, candidates)
        if not asked.model.has_index():
            return _compared(cursor, _OF_ALL, asked, scope, candidates)
        found = _by_index(cursor, asked, scope, candidates)
        if len(found) < candidates:
            # It gives up after `hnsw.max_scan_tuples`, also where none of them was wanted.
            return _compared(cursor, _OF_ALL, asked, scope, candidates)
        return found


def _compared(
    cursor: CursorWrapper, vectors: str, asked: Asked, scope: Scope, candidates: int
) -> list[_Row]:
    """Compare all vectors of the scope."""
    model = asked.model
    near = vectors.format(distance=f"{model.compared} <=> %s::halfvec", revisions=scope.sql)
    cursor.execute(
        _PLACES.format(near=f"SELECT * FROM ({near} OFFSET 0) AS each ORDER BY distance LIMIT %s"),
        [asked.compared, model.model, model.dimensions, *scope.params, candidates],
    )
    rows: list[_Row] = cursor.fetchall()
    return rows


def _by_index(cursor: CursorWrapper, asked: Asked, scope: Scope, candidates: int) -> list[_Row]:
    """Ask the HNSW index; where it knows the signs of numbers alone, compare more in full."""
    model = asked.model
    order, found = f"{model.compared} <=> %s::halfvec", candidates
    if model.is_indexed_by_bits:
        bits = f"bit({model.passage_dimensions})"
        order = (
            f"(binary_quantize({model.compared})::{bits}) <~> binary_quantize(%s::halfvec)::{bits}"
        )
        found *= _OVERSAMPLED
    near = _OF_ALL.format(distance=f"{model.compared} <=> %s::halfvec", revisions=scope.sql)
    near = f"SELECT * FROM ({near} ORDER BY {order} LIMIT %s) AS each ORDER BY distance LIMIT %s"
    # Without it a filtered HNSW scan returns too few rows (pgvector, "Iterative Index Scans").
    cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    cursor.execute(f"SET LOCAL hnsw.ef_search = {min(found, _MAX_EF_SEARCH)}")
    cursor.execute(
        _PLACES.format(near=near),
        [
            *(asked.compared, model.model, model.dimensions, *scope.params),
            *(asked.compared, found, candidates),
        ],
    )
    rows: list[_Row] = cursor.fetchall()
    # They would last as long as a transaction around this one.
    cursor.execute("SET LOCAL hnsw.iterative_scan = DEFAULT; SET LOCAL hnsw.ef_search = DEFAULT")
    return rows
