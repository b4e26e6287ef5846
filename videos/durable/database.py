"""Telling the loss of our database from errors that a function met in somebody else's."""

from __future__ import annotations

import psycopg
from django.db import connection
from django.db.utils import InterfaceError, InternalError, OperationalError

DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
#: SQLSTATE classes for which no run is to blame: connection, rollback, resources, shutdown, and
#: our transaction was silent for too long (PostgreSQL docs, appendix A).
_NOBODYS_FAULT = ("08", "40", "53", "57P", "25P03")


def is_lost(error: BaseException) -> bool:
    """Whether our database is gone, full or broke a deadlock, for which no run is to blame.

    A function may use other databases, too. Django notes on a connection that it met an error;
    without a SQLSTATE, which a broken connection has none of, ours is asked whether it answers.
    """
    if not isinstance(error, DATABASE_ERRORS) or not isinstance(error.__cause__, psycopg.Error):
        return False
    if not connection.errors_occurred:
        return False
    state = error.__cause__.sqlstate
    return not connection.is_usable() if state is None else state.startswith(_NOBODYS_FAULT)
