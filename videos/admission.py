"""Who may run now: limits of a creator, capacity of the workers, fairness. In Postgres.

Waiting runs cost no message and no retry. They are released in rounds: each creator's first
run before any creator's second, counting what they have running already. Within a round the
creator who was served longest ago goes first; of those never served, the one who wants least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Count, F, Min, OuterRef, Q, QuerySet, Subquery, Sum, Window
from django.db.models.functions import Now, RowNumber

from videos import locks, transport
from videos import runs as lifecycle
from videos.commits import after_commit
from videos.conf import conf
from videos.exceptions import Yielded
from videos.models import Run, Worker

BULK = "bulk"
#: Released runs may be this many times the live worker slots, so that no slot idles.
_RELEASED_PER_SLOT = 2
_WORKER_FRESH = timedelta(seconds=10)
_MINUTE = timedelta(seconds=60)
_NEVER = datetime.min.replace(tzinfo=UTC)
#: Priority of runs that an operator lets go first; others have 0.
_PREFERRED = 1
_BUSY = (Run.State.QUEUED, Run.State.RUNNING)


def release() -> int:
    """Release waiting runs to the broker as far as limits and capacity allow; count them.

    One process at a time, so that the limits hold exactly. Why the others wait is written after
    the messages are on their way.
    """
    with transaction.atomic():
        locks.hold(locks.RELEASE)
        released = _release_default() + _release_bulk()
        if released:
            after_commit(_enqueue, released)
    if waiting().exclude(queue=BULK).exists():
        _note_reasons(_held_slots(), _recent_starts())
    return len(released)


def _enqueue(run_ids: Sequence[UUID]) -> None:
    rows = Run.objects.in_bulk(run_ids)
    transport.enqueue(rows[run_id] for run_id in run_ids if run_id in rows)


def live_slots() -> int:
    """Return the threads of all workers with a fresh heartbeat."""
    fresh = Worker.objects.filter(last_seen__gt=Now() - _WORKER_FRESH)
    return fresh.aggregate(slots=Sum("threads"))["slots"] or 0


def room() -> int:
    """Return how many more runs may be released before the workers have enough to do."""
    busy = Run.objects.filter(state__in=_BUSY).exclude(queue=BULK).count()
    return _RELEASED_PER_SLOT * live_slots() - busy


def has_idle_thread() -> bool:
    """Whether a worker could begin a run at once, if it had its message."""
    return Run.objects.filter(state=Run.State.RUNNING).count() < live_slots()


def make_way(run: Run) -> None:
    """Look, between two steps of bulk work, whether an upload waits for its thread.

    Raises:
        Yielded: if so; the run goes on once a thread is free.
    """
    if run.queue != BULK:
        return
    uploads = Run.objects.exclude(queue=BULK).filter(
        Q(state=Run.State.QUEUED)
        | Q(state=Run.State.WAITING, waiting_reason=Run.Waiting.CAPACITY, holds_slot=False)
    )
    if not has_idle_thread() and uploads.exists():
        raise Yielded


def _release_default() -> list[UUID]:
    due = waiting().exclude(queue=BULK)
    if not due.exists():
        return []
    most = room()
    held, starts = _held_slots(), _recent_starts()
    chosen: list[UUID] = []
    for run_id, creator_id in _in_rounds(due, held, most):
        if len(chosen) >= most:
            break
        if _blocked_by(creator_id, held, starts) is None:
            chosen.append(run_id)
            held[creator_id] += 1
            starts[creator_id] += 1
    return _mark_released(chosen)


def _release_bulk() -> list[UUID]:
    """Release bulk runs to threads that nothing else wants now."""
    due = waiting().filter(queue=BULK)
    if not due.exists():
        return []
    held = Run.objects.filter(holds_slot=True, queue=BULK).count()
    idle = live_slots() - Run.objects.filter(state__in=_BUSY).count()
    pool = conf().bulk_concurrency - held
    most = max(0, min(pool, idle))
    ordered = due.order_by("-priority", "created_at").values_list("pk", flat=True)
    released = _mark_released(list(ordered[:most]))
    reason = Run.Waiting.CONCURRENCY if pool <= idle else Run.Waiting.CAPACITY
    due.exclude(waiting_reason=reason).update(waiting_reason=reason)
    return released


def waiting() -> QuerySet[Run]:
    """Return the runs that may be released as soon as limits and capacity allow."""
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=Now())
    return Run.objects.filter(due, state=Run.State.WAITING, holds_slot=False)


def prefer(video_ids: Iterable[UUID]) -> int:
    """Let the waiting runs of these videos go before all others; return how many there are."""
    runs = Run.objects.filter(video__in=list(video_ids), state=Run.State.WAITING)
    return runs.update(priority=_PREFERRED)


def _in_rounds(due: QuerySet[Run], held: Counter[Any], most: int) -> list[tuple[UUID, Any]]:
    """Return (run, creator) in the order of release, as far as there may be room for them."""
    if most <= 0:
        return []
    ranked = due.annotate(
        turn=Window(
            RowNumber(),
            partition_by="creator",
            order_by=[F("priority").desc(), F("created_at").asc(), F("id").asc()],
        ),
        wanted=Window(Count("id"), partition_by="creator"),
    )
    each = min(most, conf().creator_concurrency or most)
    ranked = ranked.only("creator", "priority", "created_at")
    runs = list(ranked.filter(turn__lte=each))
    served = _last_served({run.creator_id for run in runs})

    def place(run: Any) -> tuple[Any, ...]:
        in_round = run.turn + held[run.creator_id]
        last = served.get(run.creator_id, _NEVER)
        return (-run.priority, in_round, last, run.wanted, run.created_at)

    return [(run.pk, run.creator_id) for run in sorted(runs, key=place)]


def _last_served(creator_ids: Iterable[Any]) -> dict[Any, datetime]:
    """Return when each creator's last run was released; those never served are not in it."""
    theirs = Run.objects.filter(creator=OuterRef("pk"), released_at__isnull=False)
    last = theirs.exclude(queue=BULK).order_by("-released_at").values("released_at")[:1]
    creators = get_user_model().objects.filter(pk__in=[each for each in creator_ids if each])
    rows = creators.annotate(served=Subquery(last)).filter(served__isnull=False)
    return dict(rows.values_list("pk", "served"))


def _held_slots() -> Counter[Any]:
    rows = Run.objects.filter(holds_slot=True).exclude(queue=BULK).values("creator")
    return Counter({row["creator"]: row["held"] for row in rows.annotate(held=Count("id"))})


def _recent_starts() -> Counter[Any]:
    recent = Run.objects.filter(released_at__gt=Now() - _MINUTE).exclude(queue=BULK)
    rows = recent.values("creator").annotate(started=Count("id"))
    return Counter({row["creator"]: row["started"] for row in rows})


def _blocked_by(creator_id: Any, held: Counter[Any], starts: Counter[Any]) -> Run.Waiting | None:
    """Return the limit that keeps a creator's runs waiting; runs of nobody have none."""
    if creator_id is None:
        return None
    concurrency, per_minute = conf().creator_concurrency, conf().creator_starts_per_minute
    if concurrency and held[creator_id] >= concurrency:
        return Run.Waiting.CONCURRENCY
    if per_minute and starts[creator_id] >= per_minute:
        return Run.Waiting.RATE
    return None


def _note_reasons(held: Counter[Any], starts: Counter[Any]) -> None:
    """Write why runs wait, where it is news: a creator's limit on all that the creator has.

    A limit of starts says when it ends, and the runs are not looked at until then.
    """
    blocked = {creator_id: _blocked_by(creator_id, held, starts) for creator_id in held | starts}
    full = [each for each, reason in blocked.items() if reason == Run.Waiting.CONCURRENCY]
    late = [each for each, reason in blocked.items() if reason == Run.Waiting.RATE]
    due = waiting().exclude(queue=BULK)
    theirs = due.filter(creator__in=full).exclude(waiting_reason=Run.Waiting.CONCURRENCY)
    theirs.update(waiting_reason=Run.Waiting.CONCURRENCY)
    for creator_id, first in _rate_ends(late) if late else []:
        due.filter(creator=creator_id).update(
            waiting_reason=Run.Waiting.RATE, next_attempt_at=first + _MINUTE
        )
    others = due.exclude(creator__in=[*full, *late])
    others.exclude(waiting_reason=Run.Waiting.CAPACITY).update(waiting_reason=Run.Waiting.CAPACITY)


def _rate_ends(creator_ids: Iterable[Any]) -> list[tuple[Any, Any]]:
    recent = Run.objects.filter(creator__in=creator_ids, released_at__gt=Now() - _MINUTE).exclude(
        queue=BULK
    )
    return list(recent.values_list("creator").annotate(first=Min("released_at")))


def _mark_released(chosen: Sequence[UUID]) -> list[UUID]:
    """Mark runs as queued, unless they were cancelled or replaced meanwhile; return those."""
    if not chosen:
        return []
    waiting = Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        pk__in=chosen, state=Run.State.WAITING, holds_slot=False
    )
    still = set(waiting.values_list("pk", flat=True))
    Run.objects.filter(pk__in=still).update(
        state=Run.State.QUEUED,
        holds_slot=True,
        released_at=Now(),
        message_lost_at=lifecycle.message_lost_at(),
        waiting_reason="",
        next_attempt_at=None,
    )
    return [run_id for run_id in chosen if run_id in still]
