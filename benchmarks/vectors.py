"""How fast a batch's vectors are written: ours, by Django's ways, and by a bare COPY (B6).

    .venv/bin/python benchmarks/vectors.py [BATCHES]

Batches of 20 chunks with 30 passages each, 1,536 numbers a vector, written to a table without an
index of vectors, and to one with: pgvector's HNSW, as `index_embeddings` makes it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import IS_QUICK, Line, publish, spread
from benchmarks.services import is_child, run_again

CHUNKS, PASSAGES, DIMENSIONS = 20, 30, 256 if IS_QUICK else 1_536
BATCHES = 2 if IS_QUICK else 4


def main() -> None:
    """Write batches in each way, without and with an index."""
    if not is_child():
        run_again(EMBEDDING_DIMENSIONS=DIMENSIONS)
        return
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from videos.models import ServingModel
    from videos.pipeline.vectors import configured_space

    count = int(sys.argv[1]) if len(sys.argv) > 1 else BATCHES
    rows = CHUNKS * (PASSAGES + 1)
    table = [f"| {count} batches of {rows} vectors | rows/s without an index | with HNSW |"]
    table.append("|---|---|---|")
    without = {name: measured(write, count) for name, write in ways().items()}
    space = configured_space()
    ServingModel.objects.create(
        model=space.model, dimensions=space.dimensions, since=timezone.now()
    )
    call_command("index_embeddings", verbosity=0)
    with_index = {name: measured(write, count) for name, write in ways().items()}
    table += [
        f"| {name} | {spread(rates, 0)} | {spread(with_index[name], 0)} |"
        for name, rates in without.items()
    ]
    middle = {name: statistics.median(rates) for name, rates in without.items()}
    indexed = {name: statistics.median(rates) for name, rates in with_index.items()}
    ours, bulk, bare = "Chronos", "bulk_update", "bare COPY"
    lines = [
        Line(
            "vectors written without an index, rows/s",
            f"{middle[ours]:.0f}, {middle[ours] / middle[bulk]:.1f} x",
            f"{middle[bulk]:.0f} (bulk_update), {middle[bare]:.0f} (bare COPY)",
            "8 x bulk_update",
        ),
        Line(
            "vectors written with HNSW, rows/s",
            f"{indexed[ours]:.0f}, {indexed[ours] / indexed[bare]:.2f} x",
            f"{indexed[bulk]:.0f} (bulk_update), {indexed[bare]:.0f} (bare COPY)",
            "0.9 x",
        ),
    ]
    publish("B6", lines, table, middle, "vectors a second, without an index")


def measured(write: Callable[[list[Any], Any], object], count: int) -> list[float]:
    """Return the rows a second of each batch, after one that is not counted."""
    rates = []
    for _ in range(count + 1):
        chunks, vectors = batch()
        if write.__name__ == "bulk_update":
            ways()["bulk_create"](chunks, vectors[::-1])
        begun = time.perf_counter()
        write(chunks, vectors)
        rates.append(len(vectors) / (time.perf_counter() - begun))
    return rates[1:]


def batch() -> tuple[list[Any], Any]:
    """Make the chunks of one batch, and random vectors: first those of chunks, then passages'."""
    import numpy as np
    from django.contrib.auth import get_user_model

    from videos.models import Chunk, Revision, Video

    creator, _ = get_user_model().objects.get_or_create(username="creator")
    video = Video.objects.bulk_create([Video(creator=creator, title="Talk", file="none.mp4")])[0]
    revision = Revision.objects.create(video=video)
    chunks = Chunk.objects.bulk_create(
        Chunk(
            revision=revision,
            index=index,
            start=0,
            end=1,
            first_segment=index * PASSAGES,
            last_segment=index * PASSAGES + PASSAGES - 1,
            text="text",
            word_count=700,
            token_count=900,
            content_hash=f"{index:064}",
        )
        for index in range(CHUNKS)
    )
    vectors = np.random.default_rng().normal(size=(CHUNKS * (PASSAGES + 1), DIMENSIONS))
    return chunks, vectors.astype(np.float32)


def ways() -> dict[str, Callable[[list[Any], Any], object]]:
    """Return what writes a batch, by name."""
    from django.db import connection, transaction
    from pgvector import HalfVector

    from videos.models import Embedding
    from videos.pipeline.vectors import VectorRow, configured_space, encode, replace

    space = configured_space()

    def targets(chunks: list[Any]) -> list[tuple[Any, int | None]]:
        passages = [
            (chunk, chunk.first_segment + number) for chunk in chunks for number in range(PASSAGES)
        ]
        return [*((chunk, None) for chunk in chunks), *passages]

    def rows(chunks: list[Any], vectors: Any) -> list[VectorRow]:
        return [
            VectorRow(chunk.pk, index, f"{index}", space.shortened(HalfVector(vector), index))
            for (chunk, index), vector in zip(targets(chunks), vectors, strict=True)
        ]

    def models(chunks: list[Any], vectors: Any) -> list[Embedding]:
        return [
            Embedding(
                chunk_id=row.chunk_id,
                segment_index=row.segment_index,
                model=space.model,
                dimensions=space.dimensions,
                vector=row.vector,
                text_hash=row.text_hash,
            )
            for row in rows(chunks, vectors)
        ]

    def ours(chunks: list[Any], vectors: Any) -> None:
        encoded = encode(rows(chunks, vectors), space)
        with transaction.atomic():
            replace([chunk.pk for chunk in chunks], space, encoded)

    def bare_copy(chunks: list[Any], vectors: Any) -> None:
        columns = "chunk_id, segment_index, model, dimensions, vector, text_hash"
        encoded = encode(rows(chunks, vectors), space)
        statement = f"COPY {Embedding._meta.db_table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(encoded)

    def saved(chunks: list[Any], vectors: Any) -> None:
        with transaction.atomic():
            for row in models(chunks, vectors):
                row.save()

    def bulk_create(chunks: list[Any], vectors: Any) -> None:
        Embedding.objects.bulk_create(models(chunks, vectors))

    def bulk_update(chunks: list[Any], vectors: Any) -> None:
        made = list(Embedding.objects.filter(chunk__in=chunks).order_by("pk"))
        for row, new in zip(made, models(chunks, vectors), strict=True):
            row.vector = new.vector
        Embedding.objects.bulk_update(made, ["vector"], batch_size=200)

    return {
        "Chronos": ours,
        "bare COPY": bare_copy,
        "save() of each": saved,
        "bulk_create": bulk_create,
        "bulk_update": bulk_update,
    }


if __name__ == "__main__":
    main()
