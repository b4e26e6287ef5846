"""What operators hold back: starts of all runs, or of a queue's, a function's, a creator's.

What runs already goes on to its end. Waiting runs keep their place, and cost nothing. Calls of a
paused service wait where they are (`paid.breaker`); a paused worker takes nothing more, and others
take it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, CharField, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Cast, Now

from videos.durable import runs
from videos.durable.models import Pause, Run

_NOT_OF_STARTS = (Pause.Kind.SERVICE, Pause.Kind.WORKER)
#: What nobody knows the end of comes before all others.
_LONGEST_FIRST = F("until").desc(nulls_first=True)


def in_force() -> QuerySet[Pause]:
    """Return the pauses that have not ended by themselves."""
    return Pause.objects.filter(Q(until__isnull=True) | Q(until__gt=Now()))


def condition() -> Q | None:
    """Return what tells the runs that are held back; None while nothing is paused."""
    pauses = list(in_force().exclude(kind__in=_NOT_OF_STARTS))
    if not pauses:
        return None
    held = Q(pk__in=[])
    for pause in pauses:
        held |= _of(pause)
    return held


def of_worker(worker_id: UUID | OuterRef) -> QuerySet[Pause]:
    """Return the pause of a worker, or of an outer query's, if there is one."""
    given = Value(worker_id) if isinstance(worker_id, UUID) else worker_id
    return in_force().filter(kind=Pause.Kind.WORKER, name=Cast(given, CharField()))


def with_ends(rows: QuerySet[Run]) -> QuerySet[Run]:
    """Load as `paused_until` when the pause ends that holds a waiting run's start back."""
    holding = _of_starts(OuterRef("queue"), OuterRef("function"), OuterRef("creator"))
    last = in_force().filter(holding).order_by(_LONGEST_FIRST).values("until")[:1]
    waits = Q(state=Run.State.WAITING, waiting_reason=Run.Waiting.PAUSED, holds_slot=False)
    return rows.annotate(paused_until=Case(When(waits, then=Subquery(last))))


def of(run: Run) -> Pause | None:
    """Return the pause that holds a run back, the one that lasts longest first; None: none does."""
    holding = _of_starts(run.queue, run.function, run.creator_id)
    if run.waits_behind:
        holding |= Q(kind=Pause.Kind.SERVICE, name=run.waits_behind)
    return in_force().filter(holding).order_by(_LONGEST_FIRST).first()


def begin(
    kind: Pause.Kind,
    name: str = "",
    *,
    creator: Any = None,
    by: str = "",
    why: str = "",
    until: datetime | None = None,
) -> Pause:
    """Hold runs back; what is paused already gets the new reason and end."""
    pause, _ = Pause.objects.update_or_create(
        kind=kind, name=name, creator=creator, defaults={"by": by, "why": why, "until": until}
    )
    return pause


def end(pauses: QuerySet[Pause]) -> None:
    """Take pauses away; calls that waited for one are made at once, starts by `admission.admit`."""
    services = list(pauses.filter(kind=Pause.Kind.SERVICE).values_list("name", flat=True))
    pauses.delete()
    runs.wake(Run.objects.filter(waits_behind__in=services, waiting_reason=Run.Waiting.PAUSED))


def _of(pause: Pause) -> Q:
    return {
        Pause.Kind.ALL: ~Q(pk__in=[]),
        Pause.Kind.QUEUE: Q(queue=pause.name),
        Pause.Kind.FUNCTION: Q(function=pause.name),
        Pause.Kind.CREATOR: Q(creator=pause.creator_id),
    }[Pause.Kind(pause.kind)]


def _of_starts(queue: Any, function: Any, creator_id: Any) -> Q:
    """Return what tells the pauses that hold the start of a run back, or of an outer query's."""
    return (
        Q(kind=Pause.Kind.ALL)
        | Q(kind=Pause.Kind.QUEUE, name=queue)
        | Q(kind=Pause.Kind.FUNCTION, name=function)
        | Q(kind=Pause.Kind.CREATOR, creator=creator_id)
    )
