"""From an event to its runs: once, whoever sees the event first."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.dispatch import receiver

from videos.durable import admission, runs, set_aside
from videos.durable.models import Event, Run, SetAside
from videos.durable.outbox import event_recorded
from videos.durable.registry import Function, registry
from videos.exceptions import Misconfigured

_TAKE = f"""
    UPDATE {Event._meta.db_table} SET dispatched_at = statement_timestamp()
    WHERE id = (SELECT id FROM {Event._meta.db_table} WHERE id = %s AND dispatched_at IS NULL
        FOR UPDATE SKIP LOCKED)
    """


@receiver(event_recorded, dispatch_uid="videos.dispatch_event")
def dispatch_recorded(event: Event, **_: Any) -> None:
    """Dispatch a committed event; the sweep does it where this process cannot."""
    dispatch(event)


def dispatch(event: Event) -> list[Run]:
    """Create the runs that an event starts, and admit what may run now.

    An event that was dispatched before, or is being dispatched by another process, is left
    alone: the row lock and `dispatched_at` decide the race. A function whose runs cannot be
    created is set aside, and costs the event's other functions nothing.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [event.pk])
            if not cursor.rowcount:
                return []
        started: list[Run] = []
        for function in registry.started_by(event.name):
            started += _start(event, function)
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
        return _start(item, function)
    return runs.start_failure_handler(item, function)


def _start(event: Event, function: Function) -> list[Run]:
    def create() -> list[Run]:
        if function.start is not None:
            return function.start(event, function)
        run = runs.create(function, data=event.data, event_id=event.pk)
        return [run] if run else []

    return set_aside.start(SetAside.Kind.EVENT, event.pk, function.name, create)
