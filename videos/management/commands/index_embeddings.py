"""`index_embeddings`: build the HNSW index of the serving model."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from videos.management.reporting import Failed, ReportingCommand
from videos.models import Embedding, ServingModel
from videos.pipeline import embedding_models
from videos.pipeline.vectors import configured_space

#: How many neighbors a vector has in the graph, and of how many they are chosen. By 16 and 64,
#: which are pgvector's own, a search missed one in 14 of the ten nearest of 2,900,000 vectors, by
#: these one in 300. They take twice as long to build (docs/figures.md).
_GRAPH = ("m=24", "ef_construction=128")


class Command(ReportingCommand):
    """Builds the index beside running work; worth it from about 100,000 vectors on.

    Where another model is configured than serves, its index, too: the switch waits for it.
    """

    help = (
        "Build the HNSW index of the serving embedding model, and of a configured one that is to "
        "follow it, without blocking writes."
    )

    def perform(self, **options: Any) -> Any:
        serving = ServingModel.objects.first()
        if serving is None:
            raise Failed("No video has been embedded yet, so there is nothing to index.")
        _build(serving)
        space = configured_space()
        following = embedding_models.serving_of(space)
        if Embedding.objects.filter(model=space.model, dimensions=space.dimensions).exists():
            _build(following)
            if embedding_models.serve_when_ready():
                serving = following
        return {
            "index": serving.index_name,
            "model": serving.model,
            "dimensions": serving.dimensions,
        }

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"{document['index']} serves {document['model']}")


def _build(serving: ServingModel) -> None:
    """Build a model's index, unless it is there; drop those of other ways of comparing it.

    One with another graph serves until the new one is complete.
    """
    name = serving.index_name
    built, outdated = f"{name}_new", f"{name}_old"
    indexed = f"({serving.compared}) halfvec_cosine_ops"
    if serving.is_indexed_by_bits:
        bits = f"bit({serving.passage_dimensions})"
        indexed = f"((binary_quantize({serving.compared})::{bits})) bit_hamming_ops"
    with connection.cursor() as cursor:
        _drop_half_built(cursor, name)
        _drop(cursor, outdated)
        if not _has_graph(cursor, name):
            _drop_half_built(cursor, built)
            cursor.execute(
                sql.SQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} USING hnsw "
                    "({indexed}) WITH ({graph}) WHERE model = {model} AND dimensions = {dimensions}"
                ).format(
                    name=sql.Identifier(built),
                    table=sql.Identifier(Embedding._meta.db_table),
                    indexed=sql.SQL(indexed),
                    graph=sql.SQL(", ".join(_GRAPH)),
                    dimensions=sql.Literal(serving.dimensions),
                    model=sql.Literal(serving.model),
                )
            )
            with transaction.atomic():  # Names alone change: nobody has to wait for that.
                for before, after in ((name, outdated), (built, name)):
                    cursor.execute(
                        sql.SQL("ALTER INDEX IF EXISTS {} RENAME TO {}").format(
                            sql.Identifier(before), sql.Identifier(after)
                        )
                    )
        for other in (outdated, *_others(cursor, name)):
            _drop(cursor, other)


def _has_graph(cursor: CursorWrapper, name: str) -> bool:
    """Whether an index is there, with the graph that is built now."""
    cursor.execute("SELECT reloptions FROM pg_class WHERE oid = to_regclass(%s)", [name])
    row = cursor.fetchone()
    return row is not None and set(row[0] or ()) == set(_GRAPH)


def _others(cursor: CursorWrapper, name: str) -> list[str]:
    """Return the indexes of the same model that were built for another way of comparing."""
    digest = name.rsplit("_", 1)[1]
    cursor.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = %s AND indexname <> %s "
        "AND indexname ~ %s",
        [Embedding._meta.db_table, name, f"^embedding_(hnsw|bits)_\\d+_{digest}$"],
    )
    return [row[0] for row in cursor.fetchall()]


def _drop_half_built(cursor: CursorWrapper, name: str) -> None:
    """Drop what an interrupted build left: an index that serves nothing, and costs every write."""
    cursor.execute(
        "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid", [name]
    )
    if cursor.fetchone():
        _drop(cursor, name)


def _drop(cursor: CursorWrapper, name: str) -> None:
    cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
