"""What runs beside the actors in every worker process: its heartbeat and its sweep."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.db import close_old_connections, connection, transaction
from django.db.models.functions import Now
from django.db.utils import Error as DatabaseError
from uuid6 import uuid7

from videos.conf import conf
from videos.durable import claims, heartbeat, pauses, quarantine, runs, sweep
from videos.durable.capacity import WORKER_FRESH_S
from videos.durable.ending import end_process
from videos.durable.models import Pause, Run, Worker
from videos.durable.transactions import is_lost
from videos.durable.turns import Turns
from videos.local import workdirs

if TYPE_CHECKING:
    import dramatiq

logger = logging.getLogger(__name__)

#: How often a thread beside the actors looks after its connections, of which one is busy.
_CONNECTIONS_EVERY_S = 60.0
_IS_PAUSED = f"""EXISTS (SELECT FROM {Pause._meta.db_table} WHERE kind = 'worker'
    AND name = worker.id::text AND (until IS NULL OR until > statement_timestamp()))"""
_LIVE = f"""FROM {Worker._meta.db_table} AS other
    WHERE other.last_seen > statement_timestamp() - interval '{WORKER_FRESH_S} seconds'"""
_DATABASE_TIME_S = "extract(epoch FROM statement_timestamp())::float8"
#: What a worker tells of itself, and learns: what is asked of it, its place among those that live.
_BEAT = f"""
    UPDATE {Worker._meta.db_table} AS worker SET last_seen = statement_timestamp(),
        threads = CASE WHEN drain_requested OR {_IS_PAUSED} THEN 0 ELSE %(threads)s END,
        stuck_threads = %(stuck)s, clock_ahead_s = %(time)s - {_DATABASE_TIME_S}
    WHERE id = %(id)s RETURNING drain_requested, {_IS_PAUSED}, {_DATABASE_TIME_S},
        (SELECT count(*) {_LIVE} AND other.id < worker.id), (SELECT count(*) {_LIVE})
    """

_current: WorkerThreads | None = None


def current_worker_id() -> UUID | None:
    """Return the row id of this worker process; None in any other process."""
    return _current.worker_id if _current else None


class Repeating(threading.Thread):
    """Does something at an interval until it is stopped, whatever happens to the database."""

    def __init__(self, name: str, act: Callable[[], object], interval_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._act = act
        self._interval_s = interval_s
        self._looks_after_at = 0.0
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop, and wait until the thread has ended."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Act, wait for what is left of the interval, and again."""
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._act_once_more_if_lost()
            except Exception as error:
                if is_lost(error):
                    logger.warning("The database did not answer, trying again: %s", error)
                else:
                    logger.exception("%s failed, trying again.", self.name)
                if isinstance(error, DatabaseError):
                    connection.close()
            self._stopping.wait(max(0.0, self._interval_s - (time.monotonic() - begun)))
        connection.close()

    def _act_once_more_if_lost(self) -> None:
        """Act; if the connection was lost since the last time, on a new one.

        Asking each time whether it is still there would cost idle workers as much as acting.
        """
        if time.monotonic() >= self._looks_after_at:
            close_old_connections()
            self._looks_after_at = time.monotonic() + _CONNECTIONS_EVERY_S
        was_connected = connection.connection is not None
        try:
            self._act()
        except DatabaseError as error:
            if not was_connected or not is_lost(error):
                raise
            connection.close()
            self._act()


class Heartbeat(Repeating):
    """Renews the leases of this process's claims."""

    def __init__(self) -> None:
        super().__init__("chronos-heartbeat", self.beat, conf().heartbeat_s)

    def beat(self) -> None:
        """Renew them once."""
        heartbeat.renew(claims.live_claims())


class Intake(Protocol):
    """Where a worker's messages come from."""

    def hold(self) -> None:
        """Take no more of them."""

    def resume(self) -> None:
        """Take them again."""


class WorkerHeartbeat(Heartbeat):
    """Renews the leases and the worker's row, and looks after the worker's threads."""

    def __init__(
        self, worker: dramatiq.Worker, intake: Intake, queues: list[str], *, owns_process: bool
    ) -> None:
        super().__init__()
        self.worker_id = uuid7()
        self._worker = worker
        self._intake = intake
        self._is_holding = False
        self._queues = queues
        self._owns_process = owns_process
        self.turns = Turns(conf().sweep_s)
        #: Off while the worker stops its threads itself.
        self.watches = True

    def beat(self) -> None:
        """Renew them once.

        The process ends if one of Dramatiq's threads is dead: it would look alive, and never
        again take a message or give one back. And it ends once every thread is stuck in a run
        that was given up; its supervisor starts another.
        """
        if self.watches and (dead := _dead_threads(self._worker)):
            logger.critical("The worker's %s died: ending the process.", dead)
            self._end_process()
            return
        super().beat()
        stuck = heartbeat.stuck_threads()
        free = self._worker.worker_threads - stuck
        if self.watches and free <= 0:
            logger.critical("All threads are stuck in runs that were given up: ending the process.")
            self._end_process()
        drains, paused = self._tell(max(free, 0), stuck)
        if self.watches:
            self._obey(drains=drains, paused=paused)

    def _tell(self, free: int, stuck: int) -> tuple[bool, bool]:
        """Write the worker's row, and return what is asked of it: to drain, to pause."""
        told = self._write(free, stuck)
        if told is None:
            # The first beat, or another worker's sweep took us for dead after a long pause.
            with transaction.atomic():
                self._sign_on()
                told = self._write(free, stuck)
        drains, paused, database_time_s, rank, count = told
        self.turns.learn(rank, count, database_time_s)
        return drains, paused

    def _write(self, free: int, stuck: int) -> Any:
        given: dict[str, float | str] = {
            "threads": free,
            "stuck": stuck,
            "time": time.time(),
            "id": self.worker_id.hex,
        }
        with connection.cursor() as cursor:
            cursor.execute(_BEAT, given)
            return cursor.fetchone()

    def _sign_on(self) -> None:
        Worker.objects.create(
            id=self.worker_id,
            pid=os.getpid(),
            host=socket.gethostname(),
            queues=self._queues,
            release=conf().release,
            threads=0,
            last_seen=Now(),
        )

    def _obey(self, *, drains: bool, paused: bool) -> None:
        """Take nothing more while the worker is paused or drained; end once it is drained."""
        if (drains or paused) != self._is_holding:
            self._is_holding = drains or paused
            (self._intake.hold if self._is_holding else self._intake.resume)()
        if not drains:
            return
        # The longest call may still come to its end; what is between two steps is handed over.
        claims.hand_over(conf().service_deadline_s)
        quarantine.stop()
        if not claims.live_claims():
            logger.warning("The worker is drained: ending the process.")
            self._end_process()

    def _end_process(self) -> None:
        """End the process once, if it is the worker's own."""
        if self._owns_process:
            end_process()
            self.watches = False


def _dead_threads(worker: dramatiq.Worker) -> str:
    consumers = [name for name, thread in worker.consumers.items() if not thread.is_alive()]
    if consumers:
        return f"consumer of {', '.join(consumers)}"
    return "" if all(thread.is_alive() for thread in worker.workers) else "worker thread"


class WorkerThreads:
    """The threads beside a worker's: one beats, the other sweeps.

    The heartbeat has a thread of its own, so that a slow sweep never costs a lease.
    """

    def __init__(
        self, worker: dramatiq.Worker, intake: Intake, queues: list[str], *, owns_process: bool
    ) -> None:
        self._heartbeat = WorkerHeartbeat(worker, intake, queues, owns_process=owns_process)
        self._sweep = Repeating("chronos-sweep", self._look, conf().sweep_s)
        #: Held as long as the process lives: another that finds it left takes its runs at once.
        self._held = ExitStack()
        self._watch = workdirs.Watch(str(self.worker_id))
        #: Workers of this machine that died, until that is written.
        self._died: set[UUID] = set()
        #: Whether a sweep is due that was not done.
        self._owes_sweep = False

    @property
    def worker_id(self) -> UUID:
        """The id of the worker's row."""
        return self._heartbeat.worker_id

    def start(self) -> None:
        """Register the worker and begin; without a database, the heartbeat goes on trying."""
        global _current
        _current = self
        self._heartbeat.start()
        self._sweep.start()
        try:
            self._held.enter_context(workdirs.folder(owner=str(self.worker_id)))
        except OSError as error:
            logger.warning("Should this process die, its runs wait for their leases: %s", error)

    def stop_watching(self) -> None:
        """Take the end of the worker's threads for intended from now on."""
        self._heartbeat.watches = False

    def stop(self) -> None:
        """Stop both threads and sign the worker off."""
        global _current
        self._sweep.stop()
        self._heartbeat.stop()
        try:
            Worker.objects.filter(pk=self.worker_id).delete()
            pauses.of_worker(self.worker_id).delete()
        except DatabaseError as error:
            logger.warning("The worker could not deregister, its row will expire: %s", error)
        finally:
            connection.close()
            _current = None
            self._held.close()

    def _look(self) -> None:
        """Sweep if it is this process's turn, or a worker of this machine has died."""
        self._died |= {UUID(owner) for owner in self._watch.sweep() if owner}
        died = bool(self._died)
        if died:
            # A stage in quarantine has a process of its own, which may still live.
            orphaned = Run.objects.filter(worker__in=self._died, deaths__lt=quarantine.MAX_DEATHS)
            with transaction.atomic():
                Worker.objects.filter(pk__in=self._died).update(threads=0)
                runs.end_leases(orphaned)
            self._died.clear()
        self._owes_sweep |= self._heartbeat.turns.is_ours() or died
        if self._owes_sweep:
            sweep.sweep()
            self._owes_sweep = False
