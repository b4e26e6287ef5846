"""How many connections workers hold, and what PgBouncer in transaction mode costs (B13).

    .venv/bin/python benchmarks/connections.py [VIDEOS [REPEATS]]

Videos as in `throughput`; the workers' connections to Postgres are counted while they work. Then
the same workers through Debian's PgBouncer, whose pool is smaller than that.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish, spread  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402
from benchmarks.throughput import (  # noqa: E402
    WARM_UP,
    WITHOUT_LIMITS,
    Measured,
    System,
    cpu_times,
    make_video,
    measure,
    ours,
    serving,
)

SETTINGS = [(1, 16), (2, 8)] if IS_QUICK else [(1, 16), (2, 8), (4, 8)]
#: Beside its threads, a process has the heartbeat, the sweep, and what the sweep does beside.
BESIDE = 3
HELD = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'
    """


@dataclass
class Found:
    """What workers of a setting did."""

    most: int
    measured: list[Measured]
    #: CPU seconds a video of PgBouncer; empty without.
    bouncer_s: list[float]


def main() -> None:
    """Measure each setting, with and without a pooler, and publish."""
    given = [int(argument) for argument in sys.argv[1:]]
    count = given[0] if given else 4 if IS_QUICK else 60
    repeats = given[1] if len(given) > 1 else 1 if IS_QUICK else 2
    if not is_child():
        run_again(**WITHOUT_LIMITS)
        return
    from tests.chaos.servers import pgbouncer

    program = pgbouncer()
    if program is None:
        print("PgBouncer is not installed (apt-get install pgbouncer): nothing is measured.")
        return
    import django

    with serving(), tempfile.TemporaryDirectory() as folder:
        django.setup()
        path = make_video(Path(folder))
        found = measure_all(program, path, count, repeats)
    rates = {
        name: statistics.median(each.rate for each in its.measured) for name, its in found.items()
    }
    table = [
        f"| {count} videos of a minute, {repeats} times | connections at most "
        "| videos/s | Postgres, CPU-s a video | PgBouncer |",
        "|---|---|---|---|---|",
    ]
    for name, its in found.items():
        postgres_s = statistics.median(each.postgres_s for each in its.measured)
        speed = spread([each.rate for each in its.measured], 2)
        bouncer_s = f"{statistics.median(its.bouncer_s):.3f}" if its.bouncer_s else ""
        table.append(f"| {name} | {its.most} | {speed} | {postgres_s:.3f} | {bouncer_s} |")
    (processes, threads) = SETTINGS[-1]
    direct, pooled = _name(processes, threads), _name(processes, threads, pooled=True)
    lines = [
        Line(
            f"connections of {processes} x {threads} threads; through PgBouncer",
            f"{found[direct].most}; {found[pooled].most}",
            "",
            f"{processes * (threads + BESIDE)}",
        ),
        Line(
            "the same through PgBouncer, videos/s",
            f"{rates[pooled]:.2f}, {rates[pooled] / rates[direct]:.2f} x",
            f"{rates[direct]:.2f} (without)",
            "",
        ),
    ]
    publish("B13", lines, table, rates, "videos a second")


def measure_all(program: str, path: Path, count: int, repeats: int) -> dict[str, Found]:
    """Return what each setting does, by its name."""
    from tests.chaos.servers import PgBouncer

    direct = os.environ["DATABASE_URL"]
    (socket,) = parse_qs(urlsplit(direct).query)["host"]
    bouncer = PgBouncer(Path(os.environ["CHRONOS_DATA_DIR"]), Path(socket).parent, program)
    found: dict[str, Found] = {}

    def take(name: str, processes: int, threads: int) -> None:
        system, held = counting(ours(processes, threads, count))
        its = found.setdefault(name, Found(0, [], []))
        its.measured.append(measure(system, path, count))
        its.most = max(its.most, *held)
        if bouncer.pid is not None:
            _, used_s, _ = cpu_times(bouncer.pid)
            its.bouncer_s.append(used_s / (count + WARM_UP))

    for _ in range(repeats):
        for setting in SETTINGS:
            take(_name(*setting), *setting)
            bouncer.start()  # It holds connections for as long as it runs.
            try:
                # What workers are given that start now; we ourselves stay where we are.
                os.environ["DATABASE_URL"] = bouncer.through(direct)
                take(_name(*setting, pooled=True), *setting)
            finally:
                os.environ["DATABASE_URL"] = direct
                bouncer.stop()
    return found


def counting(system: System) -> tuple[System, list[int]]:
    """Return the system, and a list that is told of the connections at each look."""
    from django.db import connection

    held: list[int] = []

    def done() -> int:
        with connection.cursor() as cursor:
            cursor.execute(HELD)
            held.append(cursor.fetchone()[0])
        return system.done()

    return replace(system, done=done), held


def _name(processes: int, threads: int, *, pooled: bool = False) -> str:
    through = ", through PgBouncer" if pooled else ""
    return f"Chronos, {processes} x {threads} threads{through}"


if __name__ == "__main__":
    main()
