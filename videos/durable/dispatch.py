"""From an event to its runs: once, whoever sees the event first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db import connection, transaction
from django.dispatch import receiver

from videos.durable import admission, runs, set_aside
from videos.durable.models import Event, Run, SetAside
from videos.durable.outbox import event_recorded
from videos.durable.registry import Function, registry
from videos.exceptions import Misconfigured

logger = logging.getLogger(__name__)

_TAKE = f"""
    UPDATE {Event._meta.db_table} SET dispatched_at = statement_timestamp()
    WHERE id IN (SELECT id FROM {Event._meta.db_table} WHERE id = ANY(%s) AND dispatched_at IS NULL
        FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
_waiting = threading.local()
#: Events that a thread collects before it dispatches them together.
_MAX_TOGETHER = 200


@receiver(event_recorded, dispatch_uid="videos.dispatch_event")
def dispatch_recorded(event: Event, **_: Any) -> None:
    """Dispatch a committed event; the sweep does it where this process cannot."""
    together: list[Event] | None = getattr(_waiting, "events", None)
    if together is None:
        dispatch(event)
        return
    together.append(event)
    if len(together) >= _MAX_TOGETHER:
        _dispatch_waiting(together)


@contextmanager
def dispatching_together() -> Iterator[None]:
    """Dispatch many events at once that this thread's block sends, and admit once at its end."""
    outer: list[Event] | None = getattr(_waiting, "events", None)
    together: list[Event] = []
    _waiting.events = together
    with admission.admitting_once():
        try:
            yield
        finally:
            _waiting.events = outer
            _dispatch_waiting(together)


def _dispatch_waiting(together: list[Event]) -> None:
    """Dispatch what was collected; whatever raises is logged, as after a commit."""
    collected = list(together)
    together.clear()
    for name, events in groupby(collected, key=attrgetter("name")):
        try:
            dispatch(*events)
        except Exception:
            logger.exception("Events %s are left to the sweep.", name)


def dispatch(*events: Event) -> list[Run]:
    """Create the runs that events of one name start, and admit what may run now.

    An event that was dispatched before, or is being dispatched by another process, is left
    alone: the row lock and `dispatched_at` decide the race. A function whose runs cannot be
    created is set aside, and costs the event's other functions, and other events, nothing.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [[event.pk for event in events]])
            taken = {event_id for (event_id,) in cursor.fetchall()}
        ours = [event for event in events if event.pk in taken]
        started: list[Run] = []
        for function in registry.started_by(ours[0].name) if ours else ():
            started += _start(ours, function)
    if started:
        admission.admit()
    return started


def start_again(row: SetAside) -> list[Run]:
    """Try once more to create the runs of a function that was set aside; admit nothing yet."""
    with transaction.atomic():
        # Of two processes that try at once, the second finds the row locked, or gone.
        locked = SetAside.objects.select_for_update(skip_locked=True).filter(pk=row.pk).first()
        if locked is None:
            return []
        started = _start_function(locked)
        # What raised again has another attempt; anything else went through.
        SetAside.objects.filter(pk=row.pk, attempts=locked.attempts).delete()
        return started


def _start_function(row: SetAside) -> list[Run]:
    source = Event if row.kind == SetAside.Kind.EVENT else Run
    item = source.objects.filter(pk=row.item_id).first()
    function = registry.functions.get(row.function)
    if item is None:
        return []
    if function is None:
        gone = Misconfigured(f"No installed app has the function {row.function} any more.")
        set_aside.record(SetAside.Kind(row.kind), row.item_id, gone, row.function)
        return []
    if isinstance(item, Event):
        return _start([item], function)
    return runs.start_failure_handler(item, function)


def _start(events: Sequence[Event], function: Function) -> list[Run]:
    def create(some: Sequence[Event]) -> list[Run]:
        if function.start_all is not None:
            return function.start_all(some, function)
        return [run for event in some for run in _started(event, function)]

    return set_aside.start(SetAside.Kind.EVENT, events, function.name, create)


def _started(event: Event, function: Function) -> list[Run]:
    if function.start is not None:
        return function.start(event, function)
    run = runs.create(function, data=event.data, event_id=event.pk)
    return [run] if run else []
