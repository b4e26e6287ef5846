"""What is broken around the workers, a round each."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import Error, connection

from tests.chaos import lane as lanes
from tests.chaos.lane import Lane
from videos.sweeping import sweep

_STALL_S = 14
_FULL_S = 6.0
_FILLED_BYTES = 1024 * 1024
_SKEW_S = 3600.0
_FAULT_SHARE = 0.2


def play(lane: Lane, name: str) -> dict[str, Any]:
    """Do one round of a scenario."""
    scenario = SCENARIOS[name]
    lane.ended_at = []
    return lane.round(scenario, kind=name)


def ask(what: str) -> None:
    """Have the controlling process do something to a server; return when it is done."""
    lanes.tell({"do": what})
    sys.stdin.readline()


def _while(condition: Any) -> Iterator[None]:
    while condition():
        yield


def _pause(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    return _while(lambda: time.monotonic() < until)


@contextmanager
def _in_background(what: str) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=ask, args=[what], daemon=True)
    thread.start()
    yield thread
    thread.join()


def flush_redis(lane: Lane) -> Iterable[None]:
    """Redis loses everything, three times."""
    for _ in range(3):
        yield from _pause(lane.random.uniform(0.2, 1.0))
        ask("flush redis")


def restart_redis(lane: Lane) -> Iterable[None]:
    """Redis is restarted while work is under way."""
    yield from _pause(0.5)
    with _in_background("restart redis") as restart:
        yield from _while(restart.is_alive)


def stall_redis(lane: Lane) -> Iterable[None]:
    """Redis does not answer for 14 seconds."""
    yield from _pause(0.3)
    with _in_background(f"stall redis {_STALL_S}") as stall:
        yield from _while(stall.is_alive)


def restart_postgres(lane: Lane) -> Iterable[None]:
    """Postgres is restarted three times, 5 to 15 seconds apart."""
    for _ in range(3):
        lane.ended_at.append(time.time())
        with _in_background("restart postgres") as restart:
            yield from _while(restart.is_alive)
        yield from _pause(lane.random.uniform(5, 15))


def faulty_service(lane: Lane) -> Iterable[None]:
    """A fifth of the calls get 429, 500, no answer, or half of one."""
    service = lanes.service
    service.fault_share = _FAULT_SHARE
    yield from _while(lambda: not lanes.is_done())
    service.fault_share = 0.0


def full_disk(lane: Lane) -> Iterable[None]:
    """The disk of the temporary files is full for a while."""
    filler = Path(tempfile.gettempdir()) / "filler"
    with filler.open("wb", 0) as file, suppress(OSError):  # No space left on device.
        while True:
            file.write(bytes(_FILLED_BYTES))
    yield from _pause(_FULL_S)
    filler.unlink()


def many_sweeps(lane: Lane) -> Iterable[None]:
    """Six sweeps without pause beside those of the workers, one of which is killed."""
    stop = threading.Event()

    def sweep_on() -> None:
        while not stop.is_set():
            try:
                sweep()
            except Error:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=sweep_on) for _ in range(6)]
    for thread in threads:
        thread.start()
    yield from lane.die_at_random(lane)
    yield from _while(lambda: not lanes.is_done())
    stop.set()
    for thread in threads:
        thread.join()


def skewed_clock(lane: Lane) -> Iterable[None]:
    """The clock of one worker is an hour ahead, and the others are killed."""
    lane.skew_s = _SKEW_S
    lane.replace_workers()
    yield from lane.die_at_random(lane)
    lane.skew_s = 0.0


SCENARIOS = {
    "alone": lambda lane: lane.undisturbed(lane),
    "Redis FLUSHALL": flush_redis,
    "Redis restarted": restart_redis,
    "Redis stalled 14 s": stall_redis,
    "Postgres restarted": restart_postgres,
    "faulty service": faulty_service,
    "full disk": full_disk,
    "six more sweeps": many_sweeps,
    "clock an hour ahead": skewed_clock,
    "PgBouncer, undisturbed": lambda lane: lane.undisturbed(lane),
    "PgBouncer, kills": lambda lane: lane.die_at_random(lane),
}
