"""From an event to its runs: once, whoever sees the event first."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from videos import admission, runs
from videos.models import Event, Run
from videos.registry import registry


def dispatch(event_id: UUID) -> list[Run]:
    """Create the runs that an event starts, and release what may run now.

    An event that was dispatched before, or is being dispatched by another process, is left
    alone: the row lock and `dispatched_at` decide the race.
    """
    with transaction.atomic():
        event = (
            Event.objects.select_for_update(skip_locked=True)
            .filter(pk=event_id, dispatched_at__isnull=True)
            .first()
        )
        if event is None:
            return []
        started: list[Run] = []
        for function in registry.started_by(event.name):
            if function.start is not None:
                started += function.start(event, function)
            elif run := runs.create(function, data=event.data, event_id=event.pk):
                started.append(run)
        Event.objects.filter(pk=event.pk).update(dispatched_at=Now())
    if started:
        admission.release()
    return started
