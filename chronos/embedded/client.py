"""Holding the embedded servers while a command uses them."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chronos.embedded import speech_models
from chronos.embedded.folders import data_folder, private_folder, socket_folder
from chronos.embedded.keeper import LOCK, SOCKET
from chronos.embedded.programs import kept_secret
from chronos.environment import Environment

_PROJECT = Path(__file__).resolve().parent.parent.parent
_ANSWER_WITHIN_S = 120
_STOPPED_WITHIN_S = 60
LOCAL_EMBEDDING_MODEL = "chronos-local-embed"
LOCAL_DIMENSIONS = 256


class Hold:
    """A connection to the keeper; the servers run at least as long as it is open."""

    def __init__(self, connection: socket.socket, services: dict[str, dict[str, Any]]) -> None:
        self.services = services
        self._connection = connection

    def survive_exec(self) -> None:
        """Keep the hold when this process becomes another program."""
        self._connection.set_inheritable(True)

    def release(self) -> None:
        """Let go, and wait until the servers have stopped if nobody else needs them."""
        try:
            self._connection.settimeout(_STOPPED_WITHIN_S)
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.recv(1)
        except OSError:
            pass  # The keeper is gone already, and the servers with it.
        finally:
            self._connection.close()


def hold(services: Iterable[str]) -> Hold:
    """Start what does not run yet, and hold it.

    Raises:
        SystemExit: if a server cannot be started, with the reason.
    """
    connection, answer = _ask_to_start("hold", services)
    return Hold(connection, answer["services"])


def pin(services: Iterable[str]) -> dict[str, Any]:
    """Start the servers, and have them run until `unpin`."""
    connection, answer = _ask_to_start("pin", services)
    connection.close()
    return answer


def _ask_to_start(what: str, services: Iterable[str]) -> tuple[socket.socket, dict[str, Any]]:
    names = sorted(services)
    if "ai" in names:
        try:
            # Here, and not in the keeper, where nobody would see the progress.
            speech_models.fetch(os.environ.get(speech_models.VARIABLE, ""), data_folder())
        except speech_models.NoSuchModel as error:
            raise SystemExit(str(error)) from None
    connection, answer = _ask({"do": what, "services": names}, start=True)
    assert connection is not None
    return connection, answer


def unpin() -> dict[str, Any]:
    """Let the servers stop as soon as no command uses them, and wait if that is now."""
    connection, answer = _ask({"do": "unpin"}, start=False)
    if connection is not None:
        Hold(connection, {}).release()
    return answer


def status() -> dict[str, Any]:
    """Return what runs, without starting anything."""
    connection, answer = _ask({"do": "status"}, start=False)
    if connection is not None:
        connection.close()
    return answer


def _ask(request: dict[str, Any], *, start: bool) -> tuple[socket.socket | None, dict[str, Any]]:
    """Send a request to the keeper, which is started if it must be and `start` allows it.

    The lock is held from before the connection until after the answer, so that the keeper
    cannot end in between, and two commands cannot start two.
    """
    data = data_folder()
    with _locked(data):
        connection = _connect(data)
        if connection is None:
            if not start:
                return None, {"services": {}, "holders": 0}
            connection = _start_keeper(data)
        connection.settimeout(_ANSWER_WITHIN_S)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("r") as lines:
            answer: dict[str, Any] = json.loads(lines.readline() or '{"error": "it has ended"}')
    if "error" in answer:
        raise SystemExit(f"The embedded services could not be started: {answer['error']}")
    connection.settimeout(None)
    return connection, answer


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    descriptor = os.open(private_folder(data) / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connect(data: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(socket_folder(data) / SOCKET))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _start_keeper(data: Path) -> socket.socket:
    log_path = private_folder(data / "logs") / "keeper.log"
    with log_path.open("ab") as log:
        started = subprocess.run(
            [sys.executable, "-m", "chronos.embedded.keeper", str(data)],
            cwd=_PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    connection = None if started.returncode else _connect(data)
    if connection is None:
        raise SystemExit(f"The keeper of the embedded services did not start, see {log_path}.")
    return connection


def missing_services(environment: Environment) -> set[str]:
    """Return the services for which the environment names no server."""
    missing = set()
    if not environment.database_url:
        missing.add("postgres")
    if not environment.redis_url and not environment.broker_url:
        missing.add("redis")
    if _local_models(environment):
        missing.add("ai")
    return missing


def _local_models(environment: Environment) -> dict[str, str]:
    """Return the models of the AI server, by the services for which no other is named."""
    models = {
        "transcription": speech_models.offered_as(environment.chronos_local_stt_model),
        "embedding": LOCAL_EMBEDDING_MODEL,
    }
    return {name: model for name, model in models.items() if environment.lacks(name)}


def provide(environment: Environment) -> Hold | None:
    """Hold what the environment lacks, and name it there, for this process and its children."""
    if not environment.allowed_hosts:
        os.environ.setdefault("DJANGO_SECRET_KEY", _secret_key(data_folder()))
    missing = missing_services(environment)
    if not missing:
        return None
    held = hold(missing)
    if "postgres" in missing:
        os.environ["DATABASE_URL"] = held.services["postgres"]["url"]
    if "redis" in missing:
        os.environ["REDIS_URL"] = held.services["redis"]["url"]
    for name, model in _local_models(environment).items():
        prefix = name.upper()
        os.environ[f"{prefix}_BASE_URL"] = held.services["ai"]["url"]
        os.environ[f"{prefix}_API_KEY"] = held.services["ai"]["key"]
        os.environ.setdefault(f"{prefix}_MODEL", model)
        if name == "embedding":
            os.environ.setdefault("EMBEDDING_DIMENSIONS", str(LOCAL_DIMENSIONS))
    return held


def provide_for_process(environment: Environment) -> None:
    """Provide for as long as this process lives, as a web server does."""
    held = provide(environment)
    if held is not None:
        atexit.register(held.release)


def _secret_key(data: Path) -> str:
    """Return the data folder's own key, so that sessions outlive a restart."""
    return kept_secret(private_folder(data) / "secret.key")
