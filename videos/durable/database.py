"""Telling the loss of our database from errors that a function met in somebody else's."""

from __future__ import annotations

import traceback

import psycopg
from django.db import connection
from django.db.utils import DatabaseErrorWrapper, InterfaceError, InternalError, OperationalError

DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
#: SQLSTATE classes for which no run is to blame: connection, rollback, resources, shutdown, and
#: our transaction was silent for too long (PostgreSQL docs, appendix A).
_NOBODYS_FAULT = ("08", "40", "53", "57P", "25P03")


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
