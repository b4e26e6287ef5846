"""What runs beside the actors in every worker process: heartbeat, sweep, end of the process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any
from uuid import UUID

from django.db import close_old_connections, connection
from django.db.models.functions import Now
from django.db.utils import Error as DatabaseError
from uuid6 import uuid7

from videos import claims, sweeping
from videos.conf import conf
from videos.models import Worker

logger = logging.getLogger(__name__)

_current: Pulse | None = None


def current_worker_id() -> UUID | None:
    """Return the row id of this worker process; None in any other process."""
    return _current.worker_id if _current else None


class Pulse:
    """Two threads: one renews the claims and the worker's row, the other sweeps.

    The heartbeat has a thread of its own, so that a slow sweep never costs a lease.
    """

    def __init__(self, threads: int, queues: list[str]) -> None:
        self.worker_id = uuid7()
        self._threads = threads
        self._queues = queues
        self._stopping = threading.Event()
        self._members = [
            threading.Thread(target=self._beat_on, name="chronos-heartbeat", daemon=True),
            threading.Thread(target=self._sweep_on, name="chronos-sweep", daemon=True),
        ]

    def start(self) -> None:
        """Register the worker and begin; without a database, the heartbeat goes on trying."""
        global _current
        _current = self
        for member in self._members:
            member.start()

    def stop(self) -> None:
        """Stop both threads and sign the worker off."""
        global _current
        self._stopping.set()
        for member in self._members:
            member.join()
        try:
            Worker.objects.filter(pk=self.worker_id).delete()
        except DatabaseError as error:
            logger.warning("The worker could not sign off, its row will expire: %s", error)
        finally:
            connection.close()
            _current = None

    def _beat_on(self) -> None:
        self._repeat(self._beat, lambda: conf().heartbeat_s)

    def _sweep_on(self) -> None:
        self._repeat(sweeping.sweep, lambda: conf().sweep_s)

    def _beat(self) -> None:
        claims.renew(claims.live_claims())
        beaten = Worker.objects.filter(pk=self.worker_id).update(last_seen=Now())
        if not beaten:
            # The first beat, or another worker's sweep took us for dead after a long pause.
            Worker.objects.create(
                id=self.worker_id,
                pid=os.getpid(),
                host=socket.gethostname(),
                queues=self._queues,
                threads=self._threads,
                last_seen=Now(),
            )

    def _repeat(self, act: Any, interval_s: Any) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                close_old_connections()
                act()
            except DatabaseError as error:
                logger.warning("The database did not answer, trying again: %s", error)
                connection.close()
            except Exception:
                logger.exception("The worker's %s failed, trying again.", act.__name__)
            self._stopping.wait(max(0.0, interval_s() - (time.monotonic() - begun)))
        connection.close()
