"""Postgres and Redis for a benchmark, in a data folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def is_child() -> bool:
    """Whether this process was started by `run_again`."""
    return "BENCHMARK_CHILD" in os.environ


@contextmanager
def beside_services(shared_buffers: str = "") -> Iterator[dict[str, str]]:
    """Start Postgres and Redis, migrate, and yield the environment in which to use them.

    Args:
        shared_buffers: Postgres' setting, where its own 128 MB are not to be taken.
    """
    with tempfile.TemporaryDirectory(prefix="chronos-benchmark-") as folder:
        os.environ.update({"CHRONOS_DATA_DIR": folder, "CHRONOS_ENV_FILE": os.devnull})
        from chronos.embedded.client import hold

        if shared_buffers:
            hold(["postgres"]).release()
            with Path(folder, "postgres", "postgresql.auto.conf").open("a") as configuration:
                configuration.write(f"shared_buffers = '{shared_buffers}'\n")
        held = hold(["postgres", "redis"])
        environment = os.environ | {
            "DATABASE_URL": held.services["postgres"]["url"],
            "REDIS_URL": held.services["redis"]["url"],
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "TMPDIR": folder,
            "EMBEDDING_DIMENSIONS": "32",
            "CHRONOS_CREATOR_STARTS_PER_MINUTE": "0",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_CHILD": "1",
        }
        run(environment, "-m", "django", "migrate", "-v", "0")
        yield environment
        held.release()


def run(environment: dict[str, str], *arguments: str) -> None:
    """Run Python in the project's folder."""
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, env=environment, check=True)


def run_again(*, shared_buffers: str = "", **settings: object) -> None:
    """Run this program once more, beside services and with an empty database."""
    with beside_services(shared_buffers) as environment:
        given = {name: str(value) for name, value in settings.items()}
        run(environment | given, *sys.argv)
