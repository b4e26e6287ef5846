"""What is broken around the workers, a round each."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dramatiq
import psycopg
from django.db import Error, connection
from django.db.models.functions import Now

from tests.chaos import lane as lanes
from tests.chaos.actors import UNSERVED_QUEUE
from tests.chaos.lane import Lane
from tests.chaos.service import hear_a_book
from videos import events
from videos.durable.sweep import sweep

_STALL_S = 14
_FULL_S = 6.0
_FILLED_BYTES = 1024 * 1024
_SKEW_S = 3600.0
_FAULT_SHARE = 0.2
_EXHAUSTED_S = 5.0
BATCHES = 24


def play(lane: Lane, name: str, number: int) -> dict[str, Any]:
    """Do one round of a scenario."""
    lane.seed_round(name, number)
    return lane.round(SCENARIOS[name], kind=name, upload=UPLOADS.get(name))


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
    """Postgres is restarted once or twice, seconds apart."""
    for _ in range(lane.random.choice([1, 1, 2])):
        yield from _pause(lane.random.uniform(0.2, 4))
        lane.ended_at.append(time.time())
        with _in_background("restart postgres") as restart:
            yield from _while(restart.is_alive)


def end_connections(lane: Lane) -> Iterable[None]:
    """Postgres ends connections of workers, some or all, again and again."""
    for _ in range(8):
        yield from _pause(lane.random.uniform(0.1, 0.8))
        lane.ended_at.append(time.time())
        _end_backends(lane.random.choice([1, 3, 100]))


def _end_backends(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " ORDER BY random() LIMIT %s",
            [count],
        )


def exhaust_connections(lane: Lane) -> Iterable[None]:
    """Postgres has no connection left for a while, just when all have lost theirs."""
    yield from _pause(lane.random.uniform(0.2, 2))
    lane.ended_at.append(time.time())
    held = []
    try:
        _end_backends(100)
        # A worker may be faster at some of them: then it has what it needs.
        with suppress(psycopg.OperationalError):
            while True:
                held.append(psycopg.connect(os.environ["DATABASE_URL"]))
        yield from _pause(lane.random.uniform(1, _EXHAUSTED_S))
    finally:
        for each in held:
            each.close()


def batches_at_once(lane: Lane) -> Iterable[None]:
    """24 batches of 1,536 dimensions come back at one moment."""
    lanes.service.together = threading.Barrier(BATCHES)
    yield from _while(lambda: not lanes.is_done())
    lanes.service.together = None


def upload_batches(lane: Lane) -> dict[str, Any]:
    """One short clip for each of 24 creators: all are embedded side by side."""
    lanes.service.hear = hear_a_book
    return {f"batch {n}": lane.upload("clip", lane.creator(f"c{n}")) for n in range(BATCHES)}


def queue_unserved(lane: Lane) -> Iterable[None]:
    """Forty runs wait on a queue that no worker serves, and some were admitted to it before."""
    from videos.durable.capacity import BUSY_STATES
    from videos.models import Run

    sent = [events.send("chaos/unserved", {}).pk for _ in range(40)]
    mine = Run.objects.filter(event__in=sent)
    mine.filter(pk__in=list(mine.values_list("pk", flat=True)[:20])).update(
        state="queued", holds_slot=True, message_lost_at=Now()
    )

    def check() -> list[str]:
        left = mine.filter(state__in=BUSY_STATES).count()
        told = mine.filter(state="waiting", waiting_reason="worker").count()
        depth = dramatiq.get_broker().do_qsize(UNSERVED_QUEUE)
        mine.delete()
        problems = [f"{left} runs of a queue without workers hold room"] if left else []
        if told != 40:
            problems.append(f"{told} of 40 runs are told that no worker serves their queue")
        return problems + ([f"{depth} messages were sent to nobody"] if depth else [])

    lane.afterwards.append(check)
    yield


def poisoned_events(lane: Lane) -> Iterable[None]:
    """Events that cannot be dispatched, and runs whose stage is gone, come in between."""
    from videos.models import Event, Run, SetAside

    sent, gone = [], []

    def check() -> list[str]:
        noted = SetAside.objects.filter(item_id__in=sent).count()
        Event.objects.filter(pk__in=sent).delete()
        SetAside.objects.all().delete()
        Run.objects.filter(pk__in=gone).delete()
        return [] if noted == len(sent) else [f"{noted} of {len(sent)} events were set aside"]

    lane.afterwards.append(check)
    for _ in range(5):
        yield from _pause(lane.random.uniform(0.1, 1.0))
        sent.append(events.send("chaos/poisoned", {}).pk)
        fields = {
            "state": "queued",
            "message_lost_at": Now(),
            "requeues": lane.random.choice([0, 12]),
        }
        gone.append(Run.objects.create(function="process_video", stage="of old", **fields).pk)


def hung_functions(lane: Lane) -> Iterable[None]:
    """Functions that never return take every thread there is."""
    from videos.models import Run

    yield from _pause(lane.random.uniform(0.1, 1.0))
    lane.ended_at.append(time.time())
    sent = [events.send("chaos/hung", {}).pk for _ in range(12)]
    hung = Run.objects.filter(event__in=sent)

    def check() -> list[str]:
        ended = hung.filter(state="failed", error_code="timed_out").count()
        hung.delete()
        lane.replace_workers()
        return [] if ended == len(sent) else [f"{ended} of {len(sent)} hung runs timed out"]

    lane.afterwards.append(check)
    while hung.filter(finished_at=None).exists():
        # Whatever was under way in a process that ended is excused.
        lane.ended_at.append(time.time())
        yield


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


UPLOADS = {"24 batches at once": upload_batches}
SCENARIOS = {
    "alone": lambda lane: lane.undisturbed(lane),
    "Redis FLUSHALL": flush_redis,
    "Redis restarted": restart_redis,
    "Redis stalled 14 s": stall_redis,
    "Postgres restarted": restart_postgres,
    "connections ended": end_connections,
    "connections exhausted": exhaust_connections,
    "faulty service": faulty_service,
    "24 batches at once": batches_at_once,
    "queue unserved": queue_unserved,
    "poisoned events": poisoned_events,
    "hung functions": hung_functions,
    "full disk": full_disk,
    "six more sweeps": many_sweeps,
    "clock an hour ahead": skewed_clock,
    "PgBouncer, undisturbed": lambda lane: lane.undisturbed(lane),
    "PgBouncer, kills": lambda lane: lane.die_at_random(lane),
}
