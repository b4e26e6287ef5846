"""Keeping one bad item from holding up all others: it is set aside, and tried again later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Now

from videos.durable.backoff import next_attempt_at
from videos.durable.models import Event, Run, SetAside
from videos.durable.transactions import is_lost
from videos.text.storable import error_message

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 2

Item = TypeVar("Item", Event, Run)
Result = TypeVar("Result")


def due_events(rows: QuerySet[Event]) -> QuerySet[Event]:
    """Leave out the events that are set aside for now."""
    return rows.filter(~Exists(_paused([SetAside.Kind.EVENT])))


def due_runs(rows: QuerySet[Run]) -> QuerySet[Run]:
    """Leave out the runs that are set aside for now."""
    return rows.filter(~Exists(_paused([SetAside.Kind.RUN, SetAside.Kind.STAGE])))


def _paused(kinds: Sequence[SetAside.Kind]) -> QuerySet[SetAside]:
    return SetAside.objects.filter(
        kind__in=kinds, item_id=OuterRef("pk"), function="", next_attempt_at__gt=Now()
    )


def each_run(
    found: QuerySet[Run], act: Callable[[list[Run]], list[Result]], *, limit: int
) -> list[Result]:
    """Act on the first runs that are found, together; where that raises, on halves of them.

    A single run that raises, be it when its row is read, is set aside, and changes nothing. Call
    it inside a transaction: the rows are locked, and those that others have locked left out.

    Raises:
        django.db.Error: if it is the database itself that is lost.
    """
    return _halving(found, list(found.values_list("pk", flat=True)[:limit]), act)


def _halving(
    found: QuerySet[Run], ids: list[UUID], act: Callable[[list[Run]], list[Result]]
) -> list[Result]:
    if not ids:
        return []
    try:
        with transaction.atomic():
            free = found.select_for_update(skip_locked=True, of=("self",), no_key=True)
            rows = list(free.filter(pk__in=ids))
            done = act(rows) if rows else []
            went_through = SetAside.objects.filter(kind=SetAside.Kind.RUN, function="")
            went_through.filter(item_id__in=ids).delete()
            return done
    except Exception as error:  # Whatever a run's own state, or a function's handler, leads to.
        if is_lost(error):
            raise
        if len(ids) == 1:
            record(SetAside.Kind.RUN, ids[0], error)
            return []
    middle = len(ids) // 2
    return _halving(found, ids[:middle], act) + _halving(found, ids[middle:], act)


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Do one of several things in the block: if it raises, that is logged, and the others go on.

    Raises:
        django.db.Error: if it is the database itself that is lost.
    """
    try:
        yield
    except Exception as error:
        if is_lost(error):
            raise
        logger.exception("The sweep could not look after %s; the rest goes on.", what)


def record(kind: SetAside.Kind, item_id: UUID, error: Exception, function: str = "") -> None:
    """Write down that an item raised, and when it is tried again."""
    logger.error(
        "The %s %s%s was set aside: it could not be handled.",
        kind.value,
        item_id,
        f" of {function}" if function else "",
        exc_info=error,
    )
    row, is_new = SetAside.objects.get_or_create(
        kind=kind,
        item_id=item_id,
        function=function,
        defaults={
            "next_attempt_at": next_attempt_at(_FIRST_PAUSE_S, Value(0)),
            "error": _error_text(error),
        },
    )
    if not is_new:
        SetAside.objects.filter(pk=row.pk).update(
            attempts=F("attempts") + 1,
            next_attempt_at=next_attempt_at(_FIRST_PAUSE_S, F("attempts")),
            error=_error_text(error),
        )


def start(
    kind: SetAside.Kind,
    items: Sequence[Item],
    function: str,
    create: Callable[[Sequence[Item]], list[Run]],
) -> list[Run]:
    """Create the runs of a function for some items, together; where that raises, for halves.

    A single item that raises is set aside for this function, and no more.

    Raises:
        django.db.Error: if it is the database itself that is lost.
    """
    try:
        with transaction.atomic():
            return create(items)
    except Exception as error:  # Whatever a function's own start, or a row, leads to.
        if is_lost(error):
            raise
        if len(items) == 1:
            record(kind, items[0].pk, error, function)
            return []
    middle = len(items) // 2
    return start(kind, items[:middle], function, create) + start(
        kind, items[middle:], function, create
    )


def recovered() -> QuerySet[SetAside]:
    """Return what needs no other attempt: events that were dispatched, runs that have ended."""
    undispatched = Event.objects.filter(pk=OuterRef("item_id"), dispatched_at=None)
    unfinished = Run.objects.filter(pk=OuterRef("item_id"), finished_at=None)
    is_event = Q(kind=SetAside.Kind.EVENT)
    over = (is_event & ~Exists(undispatched)) | (~is_event & ~Exists(unfinished))
    return SetAside.objects.filter(over, function="")


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error_message(error)}"
