"""How many videos a minute two cores get through, and what each costs in CPU time and statements.

    .venv/bin/python benchmarks/throughput.py [VIDEOS [PROCESSES THREADS]]

Videos of a minute each; the service answers after half a second without using CPU time; limits are
off. CPU time is told by what used it: the workers' Python, their children (ffmpeg), Postgres,
Redis, and the service here. Transactions and rows are those of Postgres' own statistics.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

VIDEO_S = 60
ANSWERS_AFTER_S = 0.5
WARM_UP = 4
LOOK_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """CPU seconds: of a process itself, and of the children that it has waited for."""

    own_s: float
    children_s: float


def main() -> None:
    """Process the videos, and print what they took."""
    given = [int(argument) for argument in sys.argv[1:]]
    count = given[0] if given else 60
    processes, threads = given[1:3] if len(given) > 2 else (1, 16)
    if not is_child():
        run_again(
            CHRONOS_CREATOR_CONCURRENCY=0,
            CHRONOS_CREATOR_STARTS_PER_MINUTE=0,
            CHRONOS_LISTENING="",
            CHRONOS_LOG_FORMAT="line",
        )
        return
    import django

    from tests.openai_server import Fault, OpenAIServer

    server = OpenAIServer(dimensions=int(os.environ["EMBEDDING_DIMENSIONS"]))
    server.start()
    os.environ |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
    django.setup()
    from django.db import connection

    from videos.management.waiting import start_worker, stop
    from videos.models import Run, Video, Worker

    server.faults.append(Fault(status=200, path="/", delay_s=ANSWERS_AFTER_S, times=10**9))
    with tempfile.TemporaryDirectory() as folder:
        path = make_video(Path(folder))
        worker = start_worker(processes, threads, subprocess.DEVNULL)
        try:
            while Worker.objects.count() < processes:
                time.sleep(LOOK_S)
            upload(path, WARM_UP)
            wait_for_all()
            before, statements = used(worker.pid), counted()
            began = time.monotonic()
            upload(path, count)
            uploaded_s = time.monotonic() - began
            wait_for_all()
            took_s = time.monotonic() - began
            after, statements_after = used(worker.pid), counted()
        finally:
            stop(worker)
    assert Video.objects.filter(status="completed").count() == count + WARM_UP
    print(
        f"{count} videos of {VIDEO_S} s, {processes} x {threads} threads: {count / took_s:.2f} "
        f"videos/s ({took_s:.1f} s, of which uploading {uploaded_s:.1f})"
    )
    for name, cpu in after.items():
        was = before.get(name, Used(0, 0))
        own, children = cpu.own_s - was.own_s, cpu.children_s - was.children_s
        print(f"  {name:<10} {own / count:6.3f} CPU-s a video, children {children / count:6.3f}")
    for name, total in statements_after.items():
        print(f"  {name:<14} {(total - statements[name]) / count:7.1f} a video")
    print(f"  runs {Run.objects.count()}")
    connection.close()


def make_video(folder: Path) -> Path:
    """A minute of the sample, as H.264 and AAC."""
    from tests.media import run_ffmpeg

    path = folder / "minute.mp4"
    sample = PROJECT / "sample" / "lecture.mp4"
    run_ffmpeg("-i", sample, "-t", VIDEO_S, "-c", "copy", path)
    return path


def upload(path: Path, count: int) -> None:
    """Upload so many videos, each by a creator of its own: equal files are one creator's once."""
    from django.contrib.auth import get_user_model
    from django.core.files import File

    from videos.models import Video

    for _ in range(count):
        creator = get_user_model().objects.create(username=f"creator{time.time_ns()}")
        with path.open("rb") as file:
            Video.objects.create(creator=creator, file=File(file, name=path.name))


def wait_for_all() -> None:
    """Return once no video is under way."""
    from videos.models import Video

    while Video.objects.exclude(status__in=["completed", "failed"]).exists():
        time.sleep(LOOK_S)


def counted() -> dict[str, int]:
    """Return Postgres' counts of transactions and rows."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT xact_commit, xact_rollback, tup_inserted, tup_updated "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        row = cursor.fetchone()
    return dict(zip(["commits", "rollbacks", "rows inserted", "rows updated"], row, strict=True))


def used(worker_pid: int) -> dict[str, Used]:
    """Return the CPU time of workers, Postgres, Redis, and this process."""
    found: dict[str, Used] = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # It has ended meanwhile.
        fields = stat.rpartition(")")[2].split()
        session = int(fields[3])
        own, children = (
            sum(int(fields[at]) for at in places) / TICKS_PER_S for places in ((11, 12), (13, 14))
        )
        if pid == os.getpid():
            name = "service"
        elif session == worker_pid:
            name = "workers" if "ffmpeg" not in command else ""
        elif "postgres" in command:
            name, children = "postgres", children if "-D" in command else 0.0
        elif "redis-server" in command:
            name = "redis"
        else:
            continue
        if name:
            so_far = found.get(name, Used(0, 0))
            found[name] = Used(so_far.own_s + own, so_far.children_s + children)
    return found


if __name__ == "__main__":
    main()
