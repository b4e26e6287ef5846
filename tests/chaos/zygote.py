"""A process that has loaded everything, and forks a worker in milliseconds whenever asked."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_THREADS = int(os.environ.get("CHAOS_THREADS", 3))
_QUEUES = {"default", "bulk"}
#: Seconds after which a stage that does not end is taken for stuck; 30 outside of these rounds.
_STUCK_S = 3.0
_STOP_WITHIN_MS = 8_000


class Zygote:
    """The side of the controlling process."""

    def __init__(self, folder: Path) -> None:
        """Fork the zygote; Django must be set up, and no thread may run yet."""
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            die_with_parent()
            _serve(theirs, folder)
            os._exit(0)
        theirs.close()
        self._connection = ours
        self._lines = ours.makefile("r")
        self._lock = threading.Lock()

    def start(self, skew_s: float = 0.0) -> int:
        """Fork a worker; return its process id."""
        return int(self._ask({"do": "start", "skew_s": skew_s})["pid"])

    def ended(self) -> list[int]:
        """Return the workers that ended since the last call."""
        return list(self._ask({"do": "ended"})["pids"])

    def stop(self) -> None:
        """End the zygote; its workers end with it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            _tell(self._connection, request)
            answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer


def _serve(connection: socket.socket, folder: Path) -> None:
    lines = connection.makefile("r")
    ended: list[int] = []
    while True:
        readable = select.select([connection], [], [], 0.05)[0]
        ended += _reaped()
        if not readable:
            continue
        line = lines.readline()
        if not line:
            return
        request = json.loads(line)
        if request["do"] == "start":
            pid = os.fork()
            if pid == 0:
                die_with_parent()
                connection.close()
                _work(folder, request["skew_s"])
            _tell(connection, {"pid": pid})
        else:
            _tell(connection, {"pids": ended})
            ended = []


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _reaped() -> list[int]:
    pids = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return pids
        if pid == 0:
            return pids
        pids.append(pid)


def _work(folder: Path, skew_s: float) -> None:
    """Be a Dramatiq worker until SIGTERM, as Dramatiq's own command makes one."""
    import dramatiq

    from tests.chaos.boundaries import Boundaries
    from videos.durable import heartbeat

    heartbeat._STUCK_S = _STUCK_S
    if skew_s:
        _skew_clock(skew_s)
    Boundaries(folder).install()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    broker = dramatiq.get_broker()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, queues=_QUEUES, worker_threads=_THREADS)
    worker.start()
    stopping.wait()
    worker.stop(timeout=_STOP_WITHIN_MS)
    os._exit(0)


def _skew_clock(seconds: float) -> None:
    """Let this process's clock be wrong."""
    from django.utils import timezone

    true_time, true_ns, true_now = time.time, time.time_ns, timezone.now
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
    later: Callable[[], Any] = lambda: true_now() + timezone.timedelta(seconds=seconds)  # noqa: E731
    timezone.now = later  # type: ignore[assignment]


def die_with_parent() -> None:
    """Have the kernel kill this process once the thread that started it has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
