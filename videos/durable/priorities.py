"""Who goes before whom: the queue of bulk work, and the priorities of runs."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from videos.durable.models import Run

BULK = "bulk"
#: Priority of runs that an operator lets go first; others have 0.
_PREFERRED = 1
#: Of runs that were started many at once; uploads go before them.
_DEFERRED = -1
#: Of small work for which a person waits: it goes first, and no limit of a creator counts it.
URGENT = 2


def prefer(video_ids: Iterable[UUID]) -> int:
    """Let the waiting runs of these videos go before all others; return how many there are."""
    # A run that is admitted meanwhile needs no preference, and is not counted.
    return _prioritize(Run.objects.filter(video__in=list(video_ids)), _PREFERRED)


def defer(video_ids: Iterable[UUID]) -> None:
    """Let the waiting runs of these videos go after all others: nobody waits for them."""
    # What was admitted meanwhile goes on; nobody is before it any more.
    _prioritize(Run.objects.filter(video__in=list(video_ids), priority=0), _DEFERRED)


def _prioritize(rows: QuerySet[Run], priority: int) -> int:
    """Give waiting runs a priority, except those that somebody has locked to change them."""
    with transaction.atomic():
        waits = rows.filter(state=Run.State.WAITING).order_by()
        free = waits.select_for_update(skip_locked=True, of=("self",), no_key=True)
        return waits.filter(pk__in=free.values("pk")).update(priority=priority)
