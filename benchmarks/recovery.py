"""How long a run waits once its process or its machine is gone, and a slot for its next run (B10).

    .venv/bin/python benchmarks/recovery.py [KILLS [SLOTS]]

Two worker processes of 4 threads, each under a supervisor of its own. Whichever has the run is
killed; or it is stopped, which looks from outside like a machine that is gone: nobody can tell that
it is dead, and its lease has to run out. Slots: runs of a creator who may have one at a time.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish, spread  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402
from benchmarks.throughput import await_true  # noqa: E402

WORKERS, THREADS = 2, 4


def main() -> None:
    """Kill and stop workers, hand slots over, and publish."""
    given = [int(argument) for argument in sys.argv[1:]]
    kills, slots = given or ([1, 20] if IS_QUICK else [20, 300])
    if not is_child():
        run_again(CHRONOS_CREATOR_CONCURRENCY=1)
        return
    import django

    django.setup()
    workers = Workers()
    try:
        killed = [recovered_s(workers, signal.SIGKILL) for _ in range(kills)]
        stopped = [recovered_s(workers, signal.SIGSTOP) for _ in range(max(1, kills // 2))]
        handed = hand_over_ms(slots)
    finally:
        workers.stop()
    p95 = sorted(handed)[len(handed) * 95 // 100]
    table = [
        "| what | times | median (least to most) |",
        "|---|---|---|",
        f"| process killed, to its run resumed, s | {len(killed)} | {spread(killed)} |",
        f"| machine gone, to its run resumed, s | {len(stopped)} | {spread(stopped)} |",
        f"| slot handed over, ms | {len(handed)} | {spread(handed)} |",
    ]
    lines = [
        Line(
            f"{what} gone, to its run resumed, s",
            f"{statistics.median(found):.1f}, longest {max(found):.1f}",
            "",
            "5, longest 10",
        )
        for what, found in (("process", killed), ("machine", stopped))
    ]
    lines.append(Line("slot handed over, p95, ms", f"{p95:.0f}", "", "50"))
    bars = {
        "Chronos, process killed": statistics.median(killed),
        "Chronos, machine gone": statistics.median(stopped),
    }
    publish("B10", lines, table, bars, "seconds, median")


class Workers:
    """The supervisors of the workers, each with the one process that it has started."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self.complete()

    def complete(self) -> None:
        """Start what is missing, and wait until all live."""
        from videos.management.waiting import start_worker
        from videos.models import Worker

        known = set(Worker.objects.values_list("pid", flat=True))
        for _ in range(WORKERS - len(self._started)):
            supervisor = start_worker(1, THREADS, subprocess.DEVNULL)
            await_true(lambda: Worker.objects.exclude(pid__in=known).exists())
            pid = Worker.objects.exclude(pid__in=known).values_list("pid", flat=True)[0]
            self._started[pid] = supervisor
            known.add(pid)

    def end(self, pid: int, how: signal.Signals) -> None:
        """Send a process what ends or stops it."""
        os.kill(pid, how)

    def forget(self, pid: int) -> None:
        """End what is left of a process and of its supervisor."""
        os.killpg(self._started[pid].pid, signal.SIGKILL)
        self._started.pop(pid).wait()

    def stop(self) -> None:
        """End all."""
        from videos.management.waiting import stop

        for supervisor in self._started.values():
            stop(supervisor)


def recovered_s(workers: Workers, how: signal.Signals) -> float:
    """Return the seconds from the end of a run's process to its next attempt."""
    from benchmarks.hops.actors import HELD, RESUMED
    from benchmarks.peers.hops import client
    from videos import events
    from videos.models import Run

    client.delete(HELD, RESUMED)
    event = events.send("benchmark/held.requested", {"number": 1})
    await_true(lambda: client.llen(HELD))
    holder: Any = client.lindex(HELD, 0)
    time.sleep(time.time() % 2)  # At any time between two heartbeats.
    ended_at = time.time()
    workers.end(int(holder), how)
    await_true(lambda: client.llen(RESUMED))
    resumed_at: Any = client.lindex(RESUMED, 0)
    await_true(lambda: Run.objects.filter(event=event, state="completed").exists())
    workers.forget(int(holder))
    workers.complete()
    return float(resumed_at) - ended_at


def hand_over_ms(count: int) -> list[float]:
    """Return the milliseconds from the end of each of a creator's runs to the start of the next."""
    from django.contrib.auth import get_user_model

    from benchmarks.hops.actors import SLOT
    from videos import events
    from videos.durable import admission
    from videos.models import Run

    creator = get_user_model().objects.create(username="ada")
    with admission.admitting_once():
        for _ in range(count):
            events.send(SLOT, {"creator": creator.pk})
    ours = Run.objects.filter(function="benchmark.slot", creator=creator)
    await_true(lambda: ours.filter(state="completed").count() == count)
    times = ours.order_by("started_at").values_list("started_at", "finished_at")
    return [(after[0] - before[1]).total_seconds() * 1000 for before, after in pairwise(times)]


if __name__ == "__main__":
    main()
