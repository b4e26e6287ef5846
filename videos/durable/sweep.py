"""The sweep: finds what got stuck, and sets it going again. Nothing else repairs anything."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, connection, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import admission, dispatch, repairs, set_aside, transactions
from videos.durable.messages import enqueue
from videos.durable.models import Event, Run, SetAside
from videos.durable.registry import registry
from videos.durable.transactions import after_commit, is_lost

logger = logging.getLogger(__name__)

_UNDISPATCHED_S = 1
_MAX_AT_ONCE = 500
_COMPILED_FOR_S = 600
#: Seconds that a sweep waits for a chore, which mostly is done by then.
_CHORE_AWAITED_S = 1.0


@dataclass
class SweepResult:
    """What one sweep set going again."""

    redispatched: int = 0
    requeued: int = 0
    #: Runs that were admitted.
    released: int = 0


def sweep() -> SweepResult:
    """Look once for stuck work. Only one process repairs at a time; the others only look.

    Whatever raises over one run, one event or one kind of work costs the others nothing.
    """
    try:
        return _sweep(_look)
    except Error as error:
        if is_lost(error):
            raise
        # As while a deployment changes a table: what cannot be looked for costs the rest nothing.
        logger.exception("The sweep could not look at everything at once: it looks one by one.")
        return _sweep(lambda: set(_looked_for()))


def _sweep(look: Callable[[], set[str]]) -> SweepResult:
    result = SweepResult()
    stuck: list[Run] = []
    found = look()
    if not found:
        return result
    with transaction.atomic():
        if not transactions.try_hold(transactions.SWEEP):
            return result
        for what, repair in repairs.REPAIRS.items():
            if what in found:
                with set_aside.logged(what), transaction.atomic():
                    stuck += repair.repair()
        result.requeued = len(stuck)
        after_commit(enqueue, stuck)
    if "events" in found:
        with set_aside.logged("events"):
            result.redispatched = _dispatch_forgotten()
    if "set aside" in found:
        with set_aside.logged("what was set aside"):
            result.redispatched += _start_again()
    if "waiting" in found or result.redispatched:
        with set_aside.logged("waiting runs"):
            result.released = admission.admit()
    for name in found & registry.chores.keys():
        _begin_chore(name)
    return result


def _look() -> set[str]:
    """Look by one query, over partial indexes, for what there is to do."""
    period = int(time.monotonic() // _COMPILED_FOR_S)
    with connection.cursor() as cursor:
        cursor.execute(_statement(period, id(conf()), *registry.chores.values()))
        return {name for (name,) in cursor.fetchall()}


@lru_cache(maxsize=1)
def _statement(*_: object) -> str:
    """Return the look's SQL, which takes Django and psycopg ten times as long as Postgres.

    It is made anew now and then, since some of it depends on the day.
    """
    first, *others = (
        rows.order_by().annotate(found=Value(name)).values_list("found", flat=True)[:1]
        for name, rows in _looked_for().items()
    )
    # Without an order: Django 6.1 would take that of the first model for the whole.
    query = first.union(*others, all=True).order_by().query
    postgres: Any = connection.ops
    statement: str = postgres.compose_sql(*query.get_compiler(DEFAULT_DB_ALIAS).as_sql())
    return statement


def _looked_for() -> dict[str, QuerySet[Any]]:
    return {
        **{name: repair.found() for name, repair in repairs.REPAIRS.items()},
        "waiting": admission.waiting(),
        "events": _forgotten(),
        "set aside": _set_aside_functions(),
        **{name: chore.due() for name, chore in registry.chores.items()},
    }


def _forgotten() -> QuerySet[Event]:
    late = Now() - timedelta(seconds=_UNDISPATCHED_S)
    undispatched = Event.objects.filter(dispatched_at__isnull=True, created_at__lt=late)
    return set_aside.due_events(undispatched)


def _dispatch_forgotten() -> int:
    """Dispatch events whose process died between commit and dispatch."""
    ids = list(_forgotten().order_by("created_at").values_list("pk", flat=True)[:_MAX_AT_ONCE])
    for event_id in ids:
        try:
            dispatch.dispatch(Event.objects.get(pk=event_id))
        except Exception as error:  # Whatever it is, the other events go on.
            if is_lost(error):
                raise
            set_aside.record(SetAside.Kind.EVENT, event_id, error)
    return len(ids)


def _set_aside_functions() -> QuerySet[SetAside]:
    """Return the functions whose runs could not be created, and may be tried again."""
    return SetAside.objects.filter(next_attempt_at__lte=Now()).exclude(function="")


def _start_again() -> int:
    """Try again to create the runs of functions that were set aside."""
    rows = list(_set_aside_functions().order_by("next_attempt_at")[:_MAX_AT_ONCE])
    return sum(bool(dispatch.start_again(row)) for row in rows)


_chores: dict[str, threading.Thread] = {}


def _begin_chore(name: str) -> None:
    """Do a chore in a thread of its own, unless it is being done here: a sweep waits for none."""
    under_way = _chores.get(name)
    if under_way is None or not under_way.is_alive():
        _chores[name] = threading.Thread(target=_do_chore, args=[name], daemon=True)
        _chores[name].start()
        _chores[name].join(_CHORE_AWAITED_S)


def _do_chore(name: str) -> None:
    try:
        with set_aside.logged(name):
            registry.chores[name].do()
    except Error as error:
        logger.warning(
            "The database did not answer, %s are left to the next sweep: %s", name, error
        )
    finally:
        connection.close()
