"""Fixtures: a creator, videos, and real Dramatiq workers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.files import File
from django.db import connection

from tests import services
from tests.media import make_video
from tests.openai_server import OpenAIServer
from videos.models import Run, Video

PROJECT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Escape what no UTF-8 has: reports go from the processes that test to the one that prints."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def openai() -> Iterator[OpenAIServer]:
    services.openai_server.reset()
    yield services.openai_server
    services.openai_server.reset()


@pytest.fixture(autouse=True)
def _empty_broker() -> None:
    dramatiq.get_broker().client.flushall()


@pytest.fixture
def creator(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("ada", password="ada's password")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, as that of `tmp_path` may not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of video with beeps."""
    return make_video(tmp_path_factory.mktemp("media") / "clip.mp4")


@pytest.fixture
def upload(creator: Any, clip: Path) -> Callable[..., Video]:
    """Create a video of a file, as any Django code would."""

    def create(path: Path | None = None, name: str = "", **fields: Any) -> Video:
        path = path or clip
        with path.open("rb") as content:
            fields = {"creator": creator, **fields}
            return Video.objects.create(file=File(content, name=name or path.name), **fields)

    return create


@pytest.fixture
def worker(transactional_db: None) -> Iterator[dramatiq.Worker]:
    """A real Dramatiq worker on the real broker, in threads of this process."""
    yield from run_worker()


def run_worker() -> Iterator[dramatiq.Worker]:
    broker = dramatiq.get_broker()
    before = list(broker.middleware)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
    worker.start()
    yield worker
    worker.stop(timeout=20_000)
    broker.middleware = before


def worker_environment() -> dict[str, str]:
    """The environment in which another process works on the tests' own database."""
    url = database_url(connection.settings_dict["NAME"])
    return os.environ | {"DATABASE_URL": url, "PYTHONPATH": str(PROJECT)}


def database_url(name: str) -> str:
    """Where a database of the tests' own Postgres is found."""
    return os.environ["DATABASE_URL"].replace("@/chronos?", f"@/{name}?")


@contextmanager
def empty_database(name: str) -> Iterator[str]:
    """Have a database without tables in the block, and yield its URL."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield database_url(name)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start_worker_process(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "django", "rundramatiq", "-p", "1", "-t", "4", *arguments],
        env=worker_environment(),
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture
def worker_process(transactional_db: None) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start worker processes; all of them are ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(start_worker_process(*arguments))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


def run_python(code):
    """Run code in a process of its own, beside the project, and return it with its pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def eventually(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Return the condition's first true value.

    Raises:
        AssertionError: if it does not become true in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    states = list(Run.objects.values_list("function", "stage", "state", "error"))
    raise AssertionError(f"not within {timeout_s} s; runs: {states}")


def ended(video: Video, timeout_s: float = 30) -> Video:
    """Return the video once its processing has ended."""

    def is_ended() -> bool:
        video.refresh_from_db()
        return video.status in ("completed", "failed", "cancelled")

    eventually(is_ended, timeout_s)
    return video


def ended_run(run: Run, timeout_s: float = 30) -> Run:
    """Return a run once it has ended."""

    def is_ended() -> bool:
        run.refresh_from_db()
        return not run.is_active

    eventually(is_ended, timeout_s)
    return run


@pytest.fixture
def without_indexes(db):
    """No index of vectors before the test, and none after it: they outlive their rows."""
    _drop_vector_indexes()
    yield
    _drop_vector_indexes()


def _drop_vector_indexes():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE indexname ~ '^embedding_(hnsw|bits)_'"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP INDEX "{name}"')
