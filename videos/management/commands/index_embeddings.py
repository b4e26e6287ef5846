"""`index_embeddings`: build the HNSW index of the serving model."""

from __future__ import annotations

from typing import Any

from django.db import connection
from psycopg import sql

from videos.management.reporting import Failed, ReportingCommand
from videos.models import Embedding, ServingModel


class Command(ReportingCommand):
    """Builds the index beside running work; worth it from about 100,000 vectors on."""

    help = "Build the HNSW index of the serving embedding model, without blocking writes."

    def perform(self, **options: Any) -> Any:
        serving = ServingModel.objects.first()
        if serving is None:
            raise Failed("No video has been embedded yet, so there is nothing to index.")
        name = f"embedding_hnsw_{serving.dimensions}_{abs(hash_of(serving.model)):x}"
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} USING hnsw "
                    "((vector::halfvec({dimensions})) halfvec_cosine_ops) "
                    "WHERE model = {model} AND dimensions = {dimensions}"
                ).format(
                    name=sql.Identifier(name),
                    table=sql.Identifier(Embedding._meta.db_table),
                    dimensions=sql.Literal(serving.dimensions),
                    model=sql.Literal(serving.model),
                )
            )
        return {"index": name, "model": serving.model, "dimensions": serving.dimensions}

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"{document['index']} serves {document['model']}")


def hash_of(model: str) -> int:
    """Return a short number that stays the same for the model's name."""
    return int.from_bytes(model.encode()[-6:], "big")
