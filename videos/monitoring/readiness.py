"""What has to be there for a site to do its work: database, migrations, broker, a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from videos.durable.capacity import live_workers
from videos.durable.messages import broker_answers

logger = logging.getLogger(__name__)


def unready() -> list[str]:
    """Return what is not there: "database", "migrations", "broker", "worker"; empty: all is."""
    missing = []
    for name, is_there in _CHECKS.items():
        try:
            if is_there():
                continue
        except Exception:
            logger.warning("%s is not ready.", name, exc_info=True)
        missing.append(name)
        if name == "database":
            return missing  # Nothing else could be asked.
    return missing


def _has_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def _has_migrations() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _has_worker() -> bool:
    return live_workers().exists()


_CHECKS: dict[str, Callable[[], bool]] = {
    "database": _has_database,
    "migrations": _has_migrations,
    "broker": broker_answers,
    "worker": _has_worker,
}
