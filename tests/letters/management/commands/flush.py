"""Empty the tables after a test: by DELETE, which for a few rows takes a twentieth of TRUNCATE.

What `migrate` makes of the models alone, content types and permissions, is the same for every
test and stays, so that it need not be made again each time.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections, transaction

_KEPT = {"django_content_type", "auth_permission"}
_NOTED = "videos_lexemechange"


class Command(BaseCommand):
    """Django's own `flush`, as test cases call it."""

    stealth_options = ("interactive", "reset_sequences", "allow_cascade", "inhibit_post_migrate")

    def handle(self, *args: Any, database: str, **options: Any) -> None:
        """Delete all rows; foreign keys are looked at when all of them are gone."""
        connection = connections[database]
        tables = connection.introspection.django_table_names(
            only_existing=True, include_views=False
        )
        # What triggers write when rows of others go comes last.
        tables = sorted(set(tables) - _KEPT, key=lambda table: table == _NOTED)
        deletions = [f"DELETE FROM {connection.ops.quote_name(table)}" for table in tables]
        with transaction.atomic(database), connection.cursor() as cursor:
            # A sweep that still adds up holds rows of both, in another order than here.
            cursor.execute(f"LOCK TABLE {_NOTED} IN ACCESS EXCLUSIVE MODE")
            cursor.execute("; ".join(deletions))

    def add_arguments(self, parser: Any) -> None:
        """Take the database, as Django's own does."""
        parser.add_argument("--database", default="default")
