"""Starts sandboxed programs from a process that is kept for it: `forking`.

To start Python anew for each, as `sandbox.command` does, takes more CPU time than to read the
header of a video: 25 ms beside 20.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_PROGRAM = Path(__file__).with_name("forking.py")
_lock = threading.Lock()
_launcher: _Launcher | None = None


class Launched:
    """A program that runs, as `subprocess.Popen` has it: killed with all of its group."""

    def __init__(
        self, launcher: _Launcher, pid: int, stdout: IO[bytes], stderr: IO[bytes], status: int
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._launcher = launcher
        self._status = status
        self._waiting = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or the negative number of the signal that ended it, if it has."""
        with self._waiting:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                self._learn()
            return self.returncode

    def wait(self) -> int:
        """Wait for its end, and return the exit code as `poll` does."""
        with self._waiting:
            if self.returncode is None:
                self._learn()
            assert self.returncode is not None
            return self.returncode

    def _learn(self) -> None:
        told = os.read(self._status, 16)
        os.close(self._status)
        # Whoever starts them died, and the kernel has killed its children.
        self.returncode = int(told or -signal.SIGKILL)

    def kill(self) -> None:
        """Kill it and what it has started, unless it has ended."""
        if self.poll() is None:
            self._launcher.kill(self.pid)

    def end(self) -> None:
        """Kill it if it still runs, and close its pipes."""
        self.kill()
        self.wait()
        self.stdout.close()
        self.stderr.close()


class _Launcher:
    """The process that starts the programs of this one."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(self, arguments: Sequence[str], files: Sequence[int]) -> int:
        """Start a program, and return its process id; call it under `_lock`.

        Raises:
            ConnectionError: if the launcher has died.
        """
        return self._ask(["start", *arguments], files)

    def kill(self, pid: int) -> None:
        """Kill the group of a program, if it still runs: it does not where the launcher died."""
        with _lock, suppress(ConnectionError):
            self._ask(["kill", str(pid)])

    def _ask(self, words: Sequence[str], files: Sequence[int] = ()) -> int:
        request = "\0".join(words).encode(errors="surrogateescape")
        socket.send_fds(self._channel, [len(request).to_bytes(4, "big")], files)
        self._channel.sendall(request)
        answer = self._channel.recv(4, socket.MSG_WAITALL)
        if len(answer) < 4:
            raise ConnectionResetError("the launcher has died")
        return int.from_bytes(answer, "big")

    def close(self) -> None:
        """End the launcher, and what it has started."""
        self._channel.close()
        if self.owner == os.getpid():
            self._process.wait()


def start(arguments: Sequence[str], pipe_bytes: int) -> Launched:
    """Start a program under limits: the arguments of `sandbox.main`; its pipes hold `pipe_bytes`.

    Raises:
        OSError: if no process can be started at all.
    """
    pipes = [os.pipe(), os.pipe(), os.pipe()]
    if sys.platform == "linux":
        for read, _ in pipes[:2]:
            fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, pipe_bytes)
    given = [write for _, write in pipes]
    try:
        launcher, pid = _start(arguments, given)
    except BaseException:
        for read, _ in pipes:
            os.close(read)
        raise
    finally:
        for write in given:
            os.close(write)
    output, errors, status = (read for read, _ in pipes)
    return Launched(launcher, pid, os.fdopen(output, "rb"), os.fdopen(errors, "rb"), status)


def _start(arguments: Sequence[str], files: Sequence[int]) -> tuple[_Launcher, int]:
    global _launcher
    with _lock:
        if _launcher is not None and _launcher.owner == os.getpid():
            try:
                return _launcher, _launcher.start(arguments, files)
            except ConnectionError:
                _launcher.close()
        _launcher = _Launcher()
        return _launcher, _launcher.start(arguments, files)


@atexit.register
def _close() -> None:
    if _launcher is not None:
        _launcher.close()
