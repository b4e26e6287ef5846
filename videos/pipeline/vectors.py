"""Storing the vectors of a batch: encoded before the transaction begins, written by one COPY.

Many batches that come back at once must not hold their transactions open while Python encodes
millions of numbers: Postgres ends a transaction that is silent for too long.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import OuterRef, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat
from pgvector import HalfVector

from videos.conf import conf
from videos.models import Chunk, Embedding, ServingModel
from videos.models.search_index import passage_dimensions

_COLUMNS = "chunk_id, segment_index, model, dimensions, vector, text_hash"
#: Signature, flags and length of the extension (PostgreSQL docs, COPY, "Binary Format").
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
#: Encoding holds the interpreter, and writing the disk: more at once would only take longer each.
writers = threading.BoundedSemaphore(os.cpu_count() or 1)


@dataclass(frozen=True)
class Space:
    """What vectors can be compared in: a model, and the dimensions that it is asked for."""

    model: str
    dimensions: int

    def __str__(self) -> str:
        return f"{self.model}/{self.dimensions}"

    def shortened(self, vector: HalfVector, segment_index: int | None) -> HalfVector:
        """Return what is stored of a vector: a chunk's is whole, a passage's what is compared."""
        kept = passage_dimensions(self.model, self.dimensions)
        if segment_index is None or kept >= vector.dimensions():
            return vector
        return HalfVector(vector.to_numpy()[:kept])


@dataclass(frozen=True)
class VectorRow:
    """A vector to be stored: of a chunk, or of the passage of it that begins at a segment."""

    chunk_id: UUID
    segment_index: int | None
    text_hash: str
    vector: HalfVector


def configured_space() -> Space:
    """Return the space that the settings name."""
    return Space(conf().embedding_model, conf().embedding_dimensions)


def space_of(serving: ServingModel) -> Space:
    """Return the space in which searches compare while this serves."""
    return Space(serving.model, serving.dimensions)


def serving_space() -> Space | None:
    """Return the space in which searches compare now, if there is any yet."""
    serving = ServingModel.objects.first()
    return space_of(serving) if serving else None


def of_chunks(space: Space) -> QuerySet[Embedding]:
    """Return the vectors of whole chunks in a space."""
    return _of_whole_chunks().filter(model=space.model, dimensions=space.dimensions)


def _of_whole_chunks() -> QuerySet[Embedding]:
    """Return those by which a chunk counts as embedded."""
    return Embedding.objects.filter(segment_index=None)


def with_spaces(chunks: QuerySet[Chunk]) -> QuerySet[Chunk]:
    """Have chunks tell as `spaces` the names of those in which they are embedded."""
    theirs = _of_whole_chunks().filter(chunk=OuterRef("pk")).order_by()
    name = Concat("model", Value("/"), "dimensions", output_field=TextField())
    return chunks.annotate(spaces=ArraySubquery(theirs.values_list(name)))


def encode(rows: Sequence[VectorRow], space: Space) -> bytes:
    """Return rows in the form in which `replace` stores them."""
    model = _field(space.model.encode())
    dimensions = _field(struct.pack(">i", space.dimensions))
    encoded = bytearray(_HEADER)
    for row in rows:
        index = row.segment_index
        encoded += struct.pack(">h", 6) + _field(row.chunk_id.bytes)
        encoded += _NULL if index is None else _field(struct.pack(">i", index))
        encoded += model + dimensions + _field(row.vector.to_binary())
        encoded += _field(row.text_hash.encode())
    return bytes(encoded + _TRAILER)


def replace(
    chunk_ids: Sequence[UUID],
    space: Space,
    encoded: bytes,
    targets: Collection[tuple[UUID, int | None]] | None = None,
) -> None:
    """Store encoded rows as all that chunks have in a space; call it inside `guard`.

    With `targets`, the rows replace those of these chunks and passages (first segments) alone.
    """
    old = Embedding.objects.filter(
        chunk__in=chunk_ids, model=space.model, dimensions=space.dimensions
    )
    if targets is not None:
        whole = [chunk_id for chunk_id, segment_index in targets if segment_index is None]
        passages = [segment_index for _, segment_index in targets if segment_index is not None]
        old = old.filter(Q(segment_index=None, chunk__in=whole) | Q(segment_index__in=passages))
    old.delete()
    statement = f"COPY {Embedding._meta.db_table} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors:
        with cursor.copy(statement) as copy:
            copy.write(encoded)


def _field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value
