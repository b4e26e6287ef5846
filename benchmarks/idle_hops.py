"""How long a message waits for an idle worker, and what the idle worker costs.

`.venv/bin/python benchmarks/idle_hops.py [HOPS]` starts one worker process of 8 threads for each
broker, leaves it idle for a while, reads its CPU time from /proc, and then sends HOPS messages
(100), half a second to a second and a half apart. It prints what docs/figures.md holds.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import beside_services, is_child, run  # noqa: E402

IDLE_S = 20
BROKERS = {
    "Dramatiq's, as it comes": {"BENCHMARK_PLAIN_BROKER": "1"},
    "Dramatiq's, looking every 100 ms": {
        "BENCHMARK_PLAIN_BROKER": "1",
        "dramatiq_worker_timeout": "100",
    },
    "WakingRedisBroker": {},
}


def cpu_s(root: int) -> float:
    """Return the CPU seconds of a process and its children so far."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if os.getpgid(int(entry.name)) == root:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(hops: int) -> tuple[float, list[float]]:
    """Return the share of a core that an idle process takes, and the hops' seconds."""
    import django

    django.setup()
    import dramatiq

    from benchmarks.hops.actors import ARRIVED, hop
    from videos.durable.capacity import live_slots
    from videos.management.waiting import start_worker, stop

    client = dramatiq.get_broker().client
    client.flushall()
    worker = start_worker(1, 8, subprocess.DEVNULL)
    try:
        while not live_slots():
            time.sleep(0.1)
        begun = cpu_s(worker.pid)
        time.sleep(IDLE_S)
        idle = (cpu_s(worker.pid) - begun) / IDLE_S
        for _ in range(hops):
            time.sleep(random.uniform(0.5, 1.5))
            hop.send(time.time())
        while client.llen(ARRIVED) < hops:
            time.sleep(0.1)
        return idle, sorted(float(value) for value in client.lrange(ARRIVED, 0, -1))
    finally:
        stop(worker)


def child(hops: int) -> None:
    idle, seconds = measure(hops)
    ms = [value * 1000 for value in seconds]
    p50, p90 = ms[len(ms) // 2], ms[len(ms) * 9 // 10]
    print(f"{p50:.1f} | {p90:.1f} | {ms[-1]:.1f} | {idle:.2%} |")


def main() -> None:
    hops = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    if is_child():
        child(hops)
        return
    with beside_services() as environment:
        print(
            "| broker | p50, ms | p90, ms | longest, ms | idle, of a core |\n|---|---|---|---|---|"
        )
        for name, options in BROKERS.items():
            print(f"| {name} | ", end="", flush=True)
            run(environment | options, __file__, str(hops))


if __name__ == "__main__":
    main()
