"""Locks that processes share through Postgres, and how long a silent holder keeps them."""

from __future__ import annotations

from django.db import connection

#: Keys of the advisory locks; any two numbers that nothing else in the database uses.
RELEASE = 0x6368726F6E01
SWEEP = 0x6368726F6E02
SERVING = 0x6368726F6E03
USAGE = 0x6368726F6E04
#: Longer than any transaction of ours is silent, shorter than anybody wants to wait for one
#: whose process was stopped, or whose machine is gone.
_BOUND_SILENCE = "set_config('idle_in_transaction_session_timeout', '10s', true)"


def bound_silence() -> None:
    """Have Postgres end the transaction that is open once its process is silent for 10 s.

    Its locks go to others then. Where the process wakes up after all, its next statement fails.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_BOUND_SILENCE}")


def hold(key: int) -> None:
    """Take an advisory lock until the end of the transaction; wait for it if need be."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_BOUND_SILENCE}, pg_advisory_xact_lock(%s)", [key])


def try_hold(key: int) -> bool:
    """Take an advisory lock until the end of the transaction, if nobody has it.

    The lock belongs to the transaction, so that a pooler in transaction mode keeps it.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock(%s), {_BOUND_SILENCE}", [key])
        return bool(cursor.fetchone()[0])
