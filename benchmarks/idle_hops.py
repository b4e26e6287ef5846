"""How long a message waits for an idle worker, and what idle workers cost (B1).

    .venv/bin/python benchmarks/idle_hops.py [HOPS]

Each system has one worker process of 8 threads, which is left idle for a while; its CPU time is
read from /proc. Then messages are sent, 0.3 to 2 seconds apart.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402
from benchmarks.throughput import await_true, cpu_times  # noqa: E402

IDLE_S = 3 if IS_QUICK else 20
HOPS = 4 if IS_QUICK else 30
THREADS = 8


@dataclass(frozen=True)
class System:
    """What carries messages: its worker, and how one is sent."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    send: Callable[[float], object]


def main() -> None:
    """Measure each, and publish."""
    if not is_child():
        run_again()
        return
    import django

    django.setup()
    hops = int(sys.argv[1]) if len(sys.argv) > 1 else HOPS
    table = [
        "| workers | p50, ms | p90, ms | longest, ms | idle, of a core |",
        "|---|---|---|---|---|",
    ]
    found = {system.name: measure(system, hops) for system in systems()}
    p50 = {}
    for name, (idle, seconds) in found.items():
        ms = [value * 1000 for value in seconds]
        p50[name] = statistics.median(ms)
        p90 = ms[len(ms) * 9 // 10]
        table.append(f"| {name} | {p50[name]:.1f} | {p90:.1f} | {ms[-1]:.1f} | {idle:.2%} |")
    idle_of_8 = idle_share(lambda: ours(8))
    table.append(f"| Chronos, 8 processes | | | | {idle_of_8:.2%} |")
    mine, idle = "Chronos", found["Chronos"][0]
    best, name = min((each, name) for name, each in p50.items() if name != mine)
    lines = [
        Line("idle hop, p50, ms", f"{p50[mine]:.1f}", f"{best:.1f} ({name})", "2; p90: 3"),
        Line("idle, of a core: 1 and 8 processes", f"{idle:.1%} and {idle_of_8:.1%}", "", "1%"),
    ]
    publish("B1", lines, table, p50, "milliseconds, median")


def systems() -> list[System]:
    """Return ours, and others."""
    from benchmarks.hops.actors import hop
    from benchmarks.peers import hops
    from benchmarks.peers.procrastinate_pipeline import sender
    from videos.management.waiting import spawn

    procrastinate = sender()
    procrastinate.open()
    procrastinate.schema_manager.apply_schema()
    by_procrastinate = procrastinate.configure_task("hop", allow_unknown=True)

    def plain() -> subprocess.Popen[bytes]:
        os.environ["BENCHMARK_PLAIN_BROKER"] = "1"
        try:
            return ours(1)
        finally:
            del os.environ["BENCHMARK_PLAIN_BROKER"]

    def peer(*command: str) -> Callable[[], subprocess.Popen[bytes]]:
        return lambda: spawn([sys.executable, "-m", *command], subprocess.DEVNULL)

    celery = ("celery", "-A", "benchmarks.peers.hops:celery", "worker", "--loglevel", "ERROR")
    queue = ("procrastinate", "--app", "benchmarks.peers.hops.procrastinate", "worker")
    return [
        System("Chronos", lambda: ours(1), hop.send),
        System("Dramatiq, as it comes", plain, hop.send),
        System("Celery", peer(*celery, "-P", "threads", "-c", str(THREADS)), hops.celery_hop.delay),
        System(
            "Procrastinate",
            peer(*queue, "--concurrency", str(THREADS)),
            lambda sent_at: by_procrastinate.defer(sent_at=sent_at),
        ),
    ]


def ours(processes: int) -> subprocess.Popen[bytes]:
    """Start our workers."""
    from videos.durable.models import Worker
    from videos.management.waiting import start_worker

    Worker.objects.all().delete()
    started = start_worker(processes, THREADS, subprocess.DEVNULL)
    await_true(lambda: Worker.objects.count() >= processes)
    return started


def measure(system: System, hops: int) -> tuple[float, list[float]]:
    """Return the share of a core that an idle worker takes, and the hops' seconds."""
    from benchmarks.peers.hops import ARRIVED, client
    from videos.management.waiting import stop

    client.flushall()
    worker = system.start()
    try:
        system.send(time.time())  # The warm-up: once it is there, the worker works.
        await_true(lambda: client.llen(ARRIVED))
        time.sleep(IDLE_S / 4)
        idle = _idle_share(worker)
        client.delete(ARRIVED)
        for _ in range(hops):
            time.sleep(random.uniform(0.3, 2.0))
            system.send(time.time())
        await_true(lambda: client.llen(ARRIVED) >= hops)
        found: Any = client.lrange(ARRIVED, 0, -1)
        return idle, sorted(float(value) for value in found)
    finally:
        stop(worker)


def idle_share(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Return the share of a core that idle workers take."""
    from videos.management.waiting import stop

    worker = start()
    try:
        time.sleep(IDLE_S / 4)  # What they begin with is not counted.
        return _idle_share(worker)
    finally:
        stop(worker)


def _idle_share(worker: subprocess.Popen[bytes]) -> float:
    begun = cpu_s(worker.pid)
    time.sleep(IDLE_S)
    return (cpu_s(worker.pid) - begun) / IDLE_S


def cpu_s(session: int) -> float:
    """Return the CPU seconds of a session's processes so far."""
    total_s = 0.0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # It may have ended meanwhile.
            its_session, its_s, _ = cpu_times(pid)
            total_s += its_s if its_session == session else 0.0
    return total_s


if __name__ == "__main__":
    main()
