"""How many videos a second two cores get through, and what each costs: ours, and on Celery.

    .venv/bin/python benchmarks/throughput.py [VIDEOS [REPEATS]]

Videos of a minute each; the service answers after half a second without using CPU time; limits are
off. CPU time is told by what used it: the workers' Python, their children (ffmpeg), and Postgres.
Each system starts anew each time, and is warmed up by four videos; medians, and the spread. The
table is printed, and put into docs/benchmarks.md unless QUICK=1.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

VIDEO_S = 60
ANSWERS_AFTER_S = 0.5
WARM_UP = 4
LOOK_S = 0.05
LONGEST_S = 300.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = PROJECT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- throughput -->\n", "<!-- end of throughput -->"


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
    commits: float


def main() -> None:
    """Measure every system, and print the table."""
    is_quick = os.environ.get("QUICK") == "1"
    given = [int(argument) for argument in sys.argv[1:]]
    count = given[0] if given else 12 if is_quick else 60
    repeats = given[1] if len(given) > 1 else 1 if is_quick else 3
    if not is_child():
        run_again(
            CHRONOS_CREATOR_CONCURRENCY=0, CHRONOS_CREATOR_STARTS_PER_MINUTE=0, CHRONOS_LISTENING=""
        )
        return
    import django

    from tests.openai_server import Fault, OpenAIServer

    server = OpenAIServer(dimensions=int(os.environ["EMBEDDING_DIMENSIONS"]))
    server.faults.append(Fault(status=200, path="/", delay_s=ANSWERS_AFTER_S, times=10**9))
    server.start()
    os.environ |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
    django.setup()
    systems = [ours(1, 16), ours(2, 8), *celery()]
    rows: dict[str, list[Measured]] = {system.name: [] for system in systems}
    with tempfile.TemporaryDirectory() as folder:
        path = make_video(Path(folder))
        for _ in range(repeats):
            for system in systems:
                rows[system.name].append(measure(system, path, count))
    table = "\n".join(written(rows, count))
    print(table)
    if not is_quick:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{table}\n{END}{rest.partition(END)[2]}")


def ours(processes: int, threads: int) -> System:
    """Chronos, each video by a creator of its own: equal files are one creator's once."""
    from django.contrib.auth import get_user_model
    from django.core.files import File

    from videos.management.waiting import start_worker
    from videos.models import Video, Worker

    def start() -> subprocess.Popen[bytes]:
        Worker.objects.all().delete()
        worker = start_worker(processes, threads, subprocess.DEVNULL)
        await_true(lambda: Worker.objects.count() >= processes)
        return worker

    def upload(path: Path) -> None:
        creator = get_user_model().objects.create(username=f"creator{time.time_ns()}")
        with path.open("rb") as file:
            Video.objects.create(creator=creator, file=File(file, name=path.name))

    def done() -> int:
        assert not Video.objects.filter(status="failed").exists()
        return Video.objects.filter(status="completed").count()

    return System(f"Chronos, {processes} x {threads} threads", start, upload, done)


def celery() -> list[System]:
    """Pipelines on Celery: plain, and well written, with threads and with processes."""
    from django.db import connection

    from benchmarks.peers.celery_pipeline import TABLES, transcribe
    from videos.management.waiting import spawn

    with connection.cursor() as cursor:
        cursor.execute(TABLES)

    def upload(path: Path) -> None:
        copy = path.with_name(f"{time.time_ns()}.mp4")
        shutil.copy(path, copy)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO peer_video (path) VALUES (%s) RETURNING id", [str(copy)])
            transcribe.delay(cursor.fetchone()[0], str(copy))

    def done() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM peer_video WHERE status = 'completed'")
            return int(cursor.fetchone()[0])

    def system(name: str, codec: str, pool: str, workers: int, *, pooled: bool) -> System:
        def start() -> subprocess.Popen[bytes]:
            os.environ |= {"PEER_CODEC": codec, "PEER_POOLED": "1" if pooled else ""}
            return spawn(
                [
                    *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_pipeline"),
                    *("worker", "--loglevel", "ERROR", "-P", pool, "-c", str(workers)),
                    *("--without-gossip", "--without-mingle"),
                ],
                subprocess.DEVNULL,
            )

        return System(f"Celery, {name}, {workers} {pool}", start, upload, done)

    return [
        system("plain, MP3", "mp3", "threads", 16, pooled=False),
        system("pooled, Opus", "opus", "threads", 16, pooled=True),
        system("pooled, FLAC", "flac", "threads", 16, pooled=True),
        system("pooled, FLAC", "flac", "prefork", 16, pooled=True),
    ]


def measure(system: System, path: Path, count: int) -> Measured:
    """Process the videos; return what they took."""
    from videos.management.waiting import stop

    worker = system.start()
    try:
        _process(system, path, WARM_UP)
        before, commits = used(worker.pid), committed()
        took_s = _process(system, path, count)
        after, commits = used(worker.pid), committed() - commits
    finally:
        stop(worker)
    own, children, postgres = (
        (now - then) / count for now, then in zip(after, before, strict=True)
    )
    print(f"{system.name}: {count / took_s:.2f} videos/s", file=sys.stderr, flush=True)
    return Measured(count / took_s, own, children, postgres, commits / count)


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
        assert time.monotonic() < until, f"not within {LONGEST_S} s"
        time.sleep(LOOK_S)


def make_video(folder: Path) -> Path:
    """A minute of the sample, as H.264 and AAC."""
    from tests.media import run_ffmpeg

    path = folder / "minute.mp4"
    run_ffmpeg("-i", PROJECT / "sample" / "lecture.mp4", "-t", VIDEO_S, "-c", "copy", path)
    return path


def committed() -> int:
    """Return how many transactions Postgres has committed in this database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def used(session: int) -> tuple[float, float, float]:
    """Return the CPU seconds of a session's processes, their ended children, and Postgres."""
    own = children = postgres = 0.0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue  # It has ended meanwhile.
        fields = stat.rpartition(")")[2].split()
        its, of_children = (
            sum(int(fields[at]) for at in places) / TICKS_PER_S for places in ((11, 12), (13, 14))
        )
        if int(fields[3]) == session and "ffmpeg" not in command:
            own, children = own + its, children + of_children
        elif "postgres" in command:
            # The first process has what those that ended have used.
            postgres += its + (of_children if "-D" in command else 0.0)
    return own, children, postgres


def written(rows: dict[str, list[Measured]], count: int) -> list[str]:
    """Return the table's lines."""
    lines = [
        f"| {count} videos of a minute, each system {len(next(iter(rows.values())))} time(s) "
        "| videos/s | workers, CPU-s a video | their ffmpeg | Postgres | transactions a video |",
        "|---|---|---|---|---|---|",
    ]
    for name, measured in rows.items():
        rates = sorted(each.rate for each in measured)
        mid = [
            statistics.median(getattr(each, field) for each in measured)
            for field in ("workers_s", "children_s", "postgres_s", "commits")
        ]
        lines.append(
            f"| {name} | {statistics.median(rates):.2f} ({rates[0]:.2f} to {rates[-1]:.2f}) "
            f"| {mid[0]:.3f} | {mid[1]:.3f} | {mid[2]:.3f} | {mid[3]:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
