"""The servers under the lanes, which the controlling process may stop, stall and start again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psycopg
import redis

from chronos.embedded.folders import private_folder
from chronos.embedded.postgres import Postgres
from chronos.embedded.programs import Program, Redis

_BOUNCER_PORT = 6432


class Servers:
    """A Postgres and a Redis of their own."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        sockets = private_folder(folder / "run")
        self.folder = folder
        self.postgres = _Remembering(folder, sockets)
        self.redis = Redis(folder, sockets)
        self.bouncer: PgBouncer | None = None

    def start(self) -> None:
        """Start both, with a Postgres that remembers when each transaction was committed."""
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        """Stop what runs."""
        for program in (self.bouncer, self.redis, self.postgres):
            if program is not None:
                program.stop()

    def database(self, name: str, template: str = "chronos") -> str:
        """Make a database like another; return its URL."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.postgres.url.replace("@/chronos?", f"@/{name}?")

    def bounced(self, program: str, url: str) -> str:
        """Return the URL of a database through PgBouncer, in transaction mode."""
        self.bouncer = PgBouncer(self.folder, self.folder / "run", program)
        self.bouncer.start()
        return self.bouncer.through(url)

    def do(self, what: str) -> None:
        """Do what a scenario asks for."""
        if what == "flush redis":
            redis.Redis.from_url(self.redis.url).flushall()
        elif what == "restart redis":
            self.redis.stop()
            time.sleep(1)
            self.redis.start()
        elif what.startswith("stall redis"):
            assert self.redis.pid is not None
            os.kill(self.redis.pid, signal.SIGSTOP)
            time.sleep(float(what.split()[-1]))
            os.kill(self.redis.pid, signal.SIGCONT)
        elif what == "restart postgres":
            self.postgres.stop()
            self.postgres.start()
        else:
            raise ValueError(what)


class _Remembering(Postgres):
    """A Postgres that remembers when each transaction was committed."""

    def _command(self) -> list[str]:
        return [*super()._command(), "-c", "track_commit_timestamp=on"]


def pgbouncer() -> str | None:
    """Return Debian's PgBouncer, if it is installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer(Program):
    """Debian's PgBouncer between the lanes and Postgres."""

    name = "pgbouncer"

    def __init__(self, data: Path, sockets: Path, program: str) -> None:
        super().__init__(data, sockets)
        self._program = program
        self._postgres = Postgres(data, sockets)
        self.socket = sockets / "postgres"

    @property
    def url(self) -> str:
        return ""

    def through(self, url: str) -> str:
        """Return the URL through which a database of the same Postgres is reached here."""
        return f"{url}&port={_BOUNCER_PORT}"

    def is_ready(self) -> bool:
        return (self.socket / f".s.PGSQL.{_BOUNCER_PORT}").exists()

    def prepare(self) -> None:
        password = (self.data / "postgres.password").read_text()
        (self.data / "users.txt").write_text(f'"chronos" "{password}"\n')
        (self.data / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self.socket}\n[pgbouncer]\nlisten_addr =\n"
            f"unix_socket_dir = {self.socket}\nlisten_port = {_BOUNCER_PORT}\n"
            f"auth_type = scram-sha-256\nauth_file = {self.data / 'users.txt'}\n"
            "pool_mode = transaction\ndefault_pool_size = 10\nmax_client_conn = 200\n"
        )

    def _command(self) -> list[str]:
        return [self._program, "-q", str(self.data / "pgbouncer.ini")]

    def _launched(self, command: list[str]) -> list[str]:
        return self._postgres._unprivileged(super()._launched(command))
