"""Transactions: what follows a commit, locks that processes share, and the loss of the database."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.utils import DatabaseErrorWrapper, InterfaceError, InternalError, OperationalError

DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
#: SQLSTATE classes for which no run is to blame: connection, rollback, resources, shutdown, and
#: our transaction was silent for too long (PostgreSQL docs, appendix A).
_NOBODYS_FAULT = ("08", "40", "53", "57P", "25P03")

#: Keys of the advisory locks; any numbers that nothing else in the database uses.
ADMISSION = 0x6368726F6E01
SWEEP = 0x6368726F6E02
SERVING = 0x6368726F6E03
USAGE = 0x6368726F6E04
#: As a column: Postgres ends the transaction that is open once its process is silent for 10 s, and
#: its locks go to others. That is longer than any transaction of ours is silent, and shorter than
#: anybody wants to wait for one whose process was stopped, or whose machine is gone. Where the
#: process wakes up after all, its next statement fails.
BOUND_SILENCE = "set_config('idle_in_transaction_session_timeout', '10s', true)"


def after_commit(call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call once the transaction that is open is committed; an error of the call is logged.

    Not by `functools.partial`: Django 5.2 fails while it logs an error of one.
    """
    transaction.on_commit(lambda: call(*args, **kwargs), robust=True)


def hold(key: int) -> None:
    """Take an advisory lock until the end of the transaction; wait for it if need be."""
    _select(f"{BOUND_SILENCE}, pg_advisory_xact_lock(%s)", key)


def hold_text(text: str) -> None:
    """Take the advisory lock of a text until the end of the transaction; wait if need be."""
    _select(f"{BOUND_SILENCE}, pg_advisory_xact_lock(hashtextextended(%s, 0))", text)


def try_hold(key: int) -> bool:
    """Take an advisory lock until the end of the transaction, if nobody has it.

    The lock belongs to the transaction, so that a pooler in transaction mode keeps it.
    """
    return bool(_select(f"pg_try_advisory_xact_lock(%s), {BOUND_SILENCE}", key))


def _select(expressions: str, *parameters: int | str) -> Any:
    """Return the first of some expressions."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {expressions}", parameters)
        return cursor.fetchone()[0]


def is_lost(error: BaseException) -> bool:
    """Whether our database is gone, full or broke a deadlock, for which no run is to blame.

    A broken connection has no SQLSTATE. A function may use other databases, too: their errors are
    its own.
    """
    cause = error.__cause__
    if not isinstance(error, DATABASE_ERRORS) or not isinstance(cause, psycopg.Error):
        return False
    return _is_ours(error) and (cause.sqlstate or "08").startswith(_NOBODYS_FAULT)


def _is_ours(error: BaseException) -> bool:
    """Whether Django raised an error for our database: it leaves the connection in a frame."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is DatabaseErrorWrapper.__exit__.__code__:
            its = frame.f_locals["self"].wrapper
            if (its.alias, its.settings_dict) == (connection.alias, connection.settings_dict):
                return True
    return False
