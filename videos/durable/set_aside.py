"""Keeping one bad item from holding up all others: it is set aside, and tried again later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from django.db import models, transaction
from django.db.models import (
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    QuerySet,
    Value,
)
from django.db.models.functions import Least, Now, Power

from videos.durable.database import is_lost
from videos.models import Run, SetAside
from videos.text.storable import error_message

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 2
#: Pauses double up to 2 ** 11 s, about half an hour.
_MAX_DOUBLINGS = 10
#: An item that is due is looked at by the next sweep, and written down again if it raises.
_RECOVERED_AFTER_S = 30

Row = TypeVar("Row", bound=models.Model)
Result = TypeVar("Result")


def due(rows: QuerySet[Row], kind: SetAside.Kind) -> QuerySet[Row]:
    """Leave out what is set aside for now."""
    paused = SetAside.objects.filter(
        kind=kind, item_id=OuterRef("pk"), function="", next_attempt_at__gt=Now()
    )
    return rows.filter(~Exists(paused))


def each_run(runs: Sequence[Run], act: Callable[[list[Run]], list[Result]]) -> list[Result]:
    """Act on runs together; where that raises, on halves of them, down to single ones.

    A single run that raises is set aside, and changes nothing; call it inside a transaction.

    Raises:
        django.db.Error: if it is the database itself that is lost.
    """
    if not runs:
        return []
    try:
        with transaction.atomic():
            return act(list(runs))
    except Exception as error:  # Whatever a run's own state, or a function's handler, leads to.
        if is_lost(error):
            raise
        if len(runs) == 1:
            note(SetAside.Kind.RUN, runs[0].pk, error)
            return []
    middle = len(runs) // 2
    return each_run(runs[:middle], act) + each_run(runs[middle:], act)


@contextmanager
def apart(what: str) -> Iterator[None]:
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


def note(kind: SetAside.Kind, item_id: UUID, error: Exception, function: str = "") -> None:
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
        defaults={"next_attempt_at": _in(Value(1)), "error": _said(error)},
    )
    if not is_new:
        SetAside.objects.filter(pk=row.pk).update(
            attempts=F("attempts") + 1,
            next_attempt_at=_in(Power(2, Least(F("attempts"), _MAX_DOUBLINGS))),
            error=_said(error),
        )


def recovered() -> QuerySet[SetAside]:
    """Return what was due a while ago and did not raise again: it went through, or is gone."""
    past = Now() - timedelta(seconds=_RECOVERED_AFTER_S)
    return SetAside.objects.filter(function="", next_attempt_at__lt=past)


def _in(doublings: models.Expression | Value) -> models.Expression:
    first = Value(timedelta(seconds=_FIRST_PAUSE_S), DurationField())
    return Now() + ExpressionWrapper(first * doublings, DurationField())


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error_message(error)}"
