"""The keeper: one process per data folder that runs the embedded servers while they are used.

Commands connect to its socket and hold the connection for as long as they live; the kernel
closes it however they end. Once nobody holds one, and nobody pinned the servers, it stops them
and ends. The servers die with it, so nothing is left behind by a crash.

Requests and answers are lines of JSON: {"do": "hold" | "pin" | "unpin" | "status" | "release",
"services": […]} and {"services": {name: {"url", "running"}}, "holders": n} or {"error": text}.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from chronos.embedded.folders import private_folder, socket_folder
from chronos.embedded.postgres import Postgres
from chronos.embedded.programs import AIServer, Program, Redis

logger = logging.getLogger("chronos.keeper")

LOCK = "keeper.lock"
SOCKET = "keeper.sock"
_LOOK_S = 1.0
#: A keeper whose command died before it asked for anything ends after this.
_UNUSED_S = 60
_MAX_REQUEST_BYTES = 4096


class Keeper:
    """Serves one data folder until nobody needs it any more."""

    def __init__(self, data: Path) -> None:
        self._sockets = private_folder(socket_folder(data))
        self._path = self._sockets / SOCKET
        self._programs: dict[str, Program] = {
            program.name: program
            for program in (
                Postgres(data, self._sockets),
                Redis(data, self._sockets),
                AIServer(data, self._sockets),
            )
        }
        self._wanted: set[str] = set()
        self._holders: set[socket.socket] = set()
        self._pinned = False
        #: Of who waits for our end: the kernel closes them once this process is gone.
        self._left_open: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._lock = os.open(private_folder(data) / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        self._ending = False
        self._born = time.monotonic()

    def listen(self) -> socket.socket:
        """Make the socket that commands connect to."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen(64)
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Answer requests until it is time to end."""
        with listener:
            self._selector.register(listener, selectors.EVENT_READ)
            signal.signal(signal.SIGTERM, self._end)
            while not (self._ending or self._may_end()):
                for key, _ in self._selector.select(_LOOK_S):
                    if key.fileobj is listener:
                        connection, _ = listener.accept()
                        self._selector.register(connection, selectors.EVENT_READ)
                    else:
                        assert isinstance(key.fileobj, socket.socket)
                        self._read(key.fileobj)
                self._restart_dead()
            self._path.unlink(missing_ok=True)
            self._stop_programs()

    def _end(self, *_: object) -> None:
        self._ending = True

    def _may_end(self) -> bool:
        """Whether nobody needs us; then the lock is ours, so that nobody connects any more."""
        if self._holders or self._pinned:
            return False
        if not self._wanted and time.monotonic() - self._born < _UNUSED_S:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self, connection: socket.socket) -> None:
        try:
            line = connection.recv(_MAX_REQUEST_BYTES)
            request: dict[str, Any] = json.loads(line) if line else {"do": "release"}
        except (OSError, ValueError):
            request = {"do": "release"}
        if request["do"] == "release":
            self._release(connection)
            return
        try:
            answer = self._answer(connection, request)
        except Exception as error:
            logger.exception("Request %s failed.", request)
            answer = {"error": str(error)}
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._release(connection)

    def _release(self, connection: socket.socket) -> None:
        """Let go of a command; it waits for the end of the connection, and so of the servers."""
        self._selector.unregister(connection)
        self._holders.discard(connection)
        if self._may_end():
            self._ending = True
            self._stop_programs()
            self._left_open.append(connection)
        else:
            connection.close()

    def _answer(self, connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        if do in ("hold", "pin"):
            self._wanted.update(request["services"])
            for name in request["services"]:
                if not self._programs[name].is_running:
                    self._programs[name].start()
            if do == "pin":
                self._pinned = True
            else:
                self._holders.add(connection)
        elif do == "unpin":
            self._pinned = False
        return {
            "services": {
                name: {
                    "url": program.url if program.is_running else None,
                    "key": program.key if program.is_running else None,
                    "running": program.is_running,
                    "pid": program.pid,
                }
                for name, program in self._programs.items()
            },
            "holders": len(self._holders),
        }

    def _restart_dead(self) -> None:
        for name in self._wanted:
            program = self._programs[name]
            if not program.is_running and not self._ending:
                logger.warning("%s has ended, starting it again.", name)
                try:
                    program.start()
                except RuntimeError:
                    logger.exception("%s could not be started, trying again.", name)

    def _stop_programs(self) -> None:
        for program in reversed(self._programs.values()):
            program.stop()
        self._wanted.clear()


def main() -> None:
    """Keep the servers of the data folder named by the first argument.

    The process that was started ends once there is a socket to connect to; its child stays.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    keeper = Keeper(Path(sys.argv[1]))
    listener = keeper.listen()
    if os.fork():
        os._exit(0)
    os.setsid()
    keeper.serve(listener)
    os._exit(0)


if __name__ == "__main__":
    main()
