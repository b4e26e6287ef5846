"""How many videos a second two cores get through, and what each costs: ours, and others' (B2).

    .venv/bin/python benchmarks/throughput.py [VIDEOS [REPEATS]]

Videos of a minute each; the service answers after half a second without using CPU time; limits are
off. CPU time is told by what used it: the workers' Python, their children (ffmpeg), and Postgres.
Each system starts anew each time, and is warmed up by four videos. Uploading, and the service, take
CPU time of the same cores, which is counted as nobody's.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish, spread  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402

VIDEO_S = 60
ANSWERS_AFTER_S = 0.5
WARM_UP = 2 if IS_QUICK else 4
LOOK_S = 0.05
LONGEST_S = 300.0
WITHOUT_LIMITS = {
    "CHRONOS_CREATOR_CONCURRENCY": 0,
    "CHRONOS_CREATOR_STARTS_PER_MINUTE": 0,
    "CHRONOS_LISTENING": "",
}
#: How often we have looked ourselves, each time by one transaction.
_looks = [0]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class System:
    """What processes videos: how its workers start, a video is uploaded, and those done counted."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    upload: Callable[[Path], object]
    done: Callable[[], int]


@dataclass(frozen=True)
class Measured:
    """One run: videos a second, and CPU seconds and transactions a video."""

    rate: float
    workers_s: float
    children_s: float
    postgres_s: float
    #: What uploads, and the service that answers: this process.
    beside_s: float
    commits: float
    #: Of the transactions those that wrote or locked rows, at most: their savepoints count as well.
    writes: float


def main() -> None:
    """Measure every system, and print the table."""
    given = [int(argument) for argument in sys.argv[1:]]
    count = given[0] if given else 4 if IS_QUICK else 200
    repeats = given[1] if len(given) > 1 else 1 if IS_QUICK else 2
    if not is_child():
        run_again(**WITHOUT_LIMITS)
        return
    import django

    with serving(), tempfile.TemporaryDirectory() as folder:
        django.setup()
        systems = [ours(1, 16, count), ours(2, 8, count), *others()]
        rows: dict[str, list[Measured]] = {system.name: [] for system in systems}
        path = make_video(Path(folder))
        for _ in range(repeats):
            for system in systems:
                rows[system.name].append(measure(system, path, count))
    rates = {name: statistics.median(each.rate for each in its) for name, its in rows.items()}
    best, name = max((rate, name) for name, rate in rates.items() if "Chronos" not in name)
    mine, setting = max((rate, name) for name, rate in rates.items() if "Chronos" in name)
    cpu = [each.workers_s + each.children_s + each.postgres_s for each in rows[setting]]
    commits = statistics.median(each.commits for each in rows[setting])
    lines = [
        Line(
            "videos of a minute, a second",
            f"{mine:.2f}, {mine / best:.2f} x",
            f"{best:.2f} ({name})",
            "3 x",
        ),
        Line("CPU-seconds a video, all of it", f"{statistics.median(cpu):.2f}", "", "0.2"),
        Line("transactions a video", f"{commits:.0f}", "", "25"),
    ]
    publish("B2", lines, written(rows, count), rates, "videos a second")


@contextmanager
def serving() -> Iterator[None]:
    """Have a service that answers after half a second, without using CPU time."""
    from tests.openai_server import Fault, OpenAIServer

    server = OpenAIServer(dimensions=int(os.environ["EMBEDDING_DIMENSIONS"]))
    server.faults.append(Fault(status=200, path="/", delay_s=ANSWERS_AFTER_S, times=10**9))
    server.start()
    os.environ |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
    try:
        yield
    finally:
        server.stop()


def ours(processes: int, threads: int, count: int) -> System:
    """Chronos, each video by a creator of its own: equal files are one creator's once."""
    from django.contrib.auth.models import User
    from django.core.files import File

    from videos.management.waiting import start_worker
    from videos.models import Video, Worker

    creators: list[User] = []

    def start() -> subprocess.Popen[bytes]:
        names = (f"creator{time.time_ns()}-{number}" for number in range(WARM_UP + count))
        creators.extend(User.objects.bulk_create(User(username=name) for name in names))
        Worker.objects.all().delete()
        worker = start_worker(processes, threads, subprocess.DEVNULL)
        await_true(lambda: Worker.objects.count() >= processes)
        return worker

    def upload(path: Path) -> None:
        with path.open("rb") as file:
            Video.objects.create(creator=creators.pop(), file=File(file, name=path.name))

    def done() -> int:
        statuses = Counter(Video.objects.order_by().values_list("status", flat=True))
        assert not statuses["failed"]
        return statuses["completed"]

    return System(f"Chronos, {processes} x {threads} threads", start, upload, done)


def others() -> list[System]:
    """Pipelines on Celery, plain and well written, on Procrastinate, and on DBOS."""
    from dbos import DBOSClient
    from django.db import connection
    from sqlalchemy.exc import SQLAlchemyError

    from benchmarks.peers import celery_pipeline, procrastinate_pipeline
    from benchmarks.peers.dbos_pipeline import QUEUE
    from benchmarks.peers.plain import TABLES
    from videos.management.waiting import spawn

    with connection.cursor() as cursor:
        cursor.execute(TABLES)
    procrastinate = procrastinate_pipeline.sender()
    procrastinate.open()
    procrastinate.schema_manager.apply_schema()
    dbos = DBOSClient(system_database_url=os.environ["DATABASE_URL"], lazy=True)

    def done() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM peer_video WHERE status = 'completed'")
            return int(cursor.fetchone()[0])

    def by_celery(video_id: int, path: str) -> None:
        celery_pipeline.transcribe.delay(video_id, path)

    def by_procrastinate(video_id: int, path: str) -> None:
        task = procrastinate.configure_task("transcribe", allow_unknown=True)
        task.defer(video_id=video_id, path=path)

    def is_ready() -> bool:
        try:
            return dbos.retrieve_queue(QUEUE) is not None
        except SQLAlchemyError:
            return False  # Its worker makes the tables, before the first video of the warm-up.

    def by_dbos(video_id: int, path: str) -> None:
        await_true(is_ready)
        dbos.enqueue({"workflow_name": "process", "queue_name": QUEUE}, video_id, path)

    def system(
        name: str,
        send: Callable[[int, str], object],
        codec: str,
        *command: str,
        pooled: bool = True,
    ) -> System:
        def start() -> subprocess.Popen[bytes]:
            os.environ |= {"PEER_CODEC": codec, "PEER_POOLED": "1" if pooled else ""}
            return spawn([sys.executable, "-m", *command], subprocess.DEVNULL)

        def upload(path: Path) -> None:
            copy = path.with_name(f"{time.time_ns()}.mp4")
            shutil.copy(path, copy)
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO peer_video (path) VALUES (%s) RETURNING id", [str(copy)]
                )
                (video_id,) = cursor.fetchone()
            send(video_id, str(copy))

        return System(name, start, upload, done)

    def celery(pool: str) -> tuple[str, ...]:
        app = ("celery", "-A", "benchmarks.peers.celery_pipeline", "worker", "--loglevel", "ERROR")
        return (*app, "-P", pool, "-c", "16", "--without-gossip", "--without-mingle")

    queue = ("procrastinate", "--app", "benchmarks.peers.procrastinate_pipeline.app", "worker")
    return [
        system("Celery, plain, MP3, threads", by_celery, "mp3", *celery("threads"), pooled=False),
        system("Celery, Opus, threads", by_celery, "opus", *celery("threads")),
        system("Celery, FLAC, threads", by_celery, "flac", *celery("threads")),
        system("Celery, FLAC, processes", by_celery, "flac", *celery("prefork")),
        system("Procrastinate, FLAC", by_procrastinate, "flac", *queue, "--concurrency", "16"),
        system("DBOS, FLAC", by_dbos, "flac", "benchmarks.peers.dbos_pipeline"),
    ]


def measure(system: System, path: Path, count: int) -> Measured:
    """Process the videos; return what they took."""
    from videos.management.waiting import stop

    worker = system.start()
    try:
        _process(system, path, WARM_UP)
        before, looks = _figures(worker.pid), _looks[0]
        took_s = _process(system, path, count)
        after, looks = _figures(worker.pid), _looks[0] - looks
    finally:
        stop(worker)
    print(f"{system.name}: {count / took_s:.2f} videos/s", file=sys.stderr, flush=True)
    *cpu, commits, writes = (now - then for now, then in zip(after, before, strict=True))
    a_video = (figure / count for figure in (*cpu, commits - looks, writes))
    return Measured(count / took_s, *a_video)


def _figures(session: int) -> tuple[float, ...]:
    return *used(session), time.process_time(), *transactions()


def _process(system: System, path: Path, count: int) -> float:
    """Upload so many videos, and wait for them; return the seconds from the first on."""
    wanted = system.done() + count
    began = time.monotonic()
    for _ in range(count):
        system.upload(path)
    await_true(lambda: system.done() >= wanted)
    return time.monotonic() - began


def await_true(condition: Callable[[], Any]) -> None:
    """Return once it is so."""
    until = time.monotonic() + LONGEST_S
    while not condition():
        _looks[0] += 1
        assert time.monotonic() < until, f"not within {LONGEST_S} s"
        time.sleep(LOOK_S)


def make_video(folder: Path) -> Path:
    """A minute of the sample, as H.264 and AAC."""
    from tests.media import run_ffmpeg

    path = folder / "minute.mp4"
    run_ffmpeg("-i", PROJECT / "sample" / "lecture.mp4", "-t", VIDEO_S, "-c", "copy", path)
    return path


def transactions() -> tuple[int, int]:
    """Return how many transactions were committed in this database, and how many wrote."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            # Only what writes or locks rows is given a number, savepoints as well.
            "SELECT xact_commit, pg_snapshot_xmax(pg_current_snapshot())::text::bigint "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        commits, writes = cursor.fetchone()
        return int(commits), int(writes)


def cpu_times(pid: int | str) -> tuple[int, float, float]:
    """Return a process's session, and the CPU seconds of itself and of its ended children.

    Raises:
        OSError: if it has ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, children = (sum(map(int, fields[at : at + 2])) / TICKS_PER_S for at in (11, 13))
    return int(fields[3]), own, children


def used(session: int) -> tuple[float, float, float]:
    """Return the CPU seconds of a session's processes, their ended children, and Postgres."""
    own = children = postgres = 0.0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            its_session, its, of_children = cpu_times(pid)
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue  # It has ended meanwhile.
        if its_session == session and "ffmpeg" not in command:
            own, children = own + its, children + of_children
        elif "postgres" in command:
            # The first process has what those that ended have used.
            postgres += its + (of_children if "-D" in command else 0.0)
    return own, children, postgres


def written(rows: dict[str, list[Measured]], count: int) -> list[str]:
    """Return the table's lines."""
    lines = [
        f"| {count} videos of a minute, {len(next(iter(rows.values())))} times "
        "| videos/s | workers, CPU-s a video | their ffmpeg | Postgres | service, uploads "
        "| transactions a video | that write or lock |",
        "|---" * 8 + "|",
    ]
    for name, measured in rows.items():
        rates = [each.rate for each in measured]
        mid = [
            statistics.median(getattr(each, field) for each in measured)
            for field in (
                *("workers_s", "children_s", "postgres_s", "beside_s"),
                *("commits", "writes"),
            )
        ]
        lines.append(
            f"| {name} | {spread(rates, 2)} "
            f"| {mid[0]:.3f} | {mid[1]:.3f} | {mid[2]:.3f} | {mid[3]:.3f} "
            f"| {mid[4]:.0f} | {mid[5]:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
