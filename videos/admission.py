"""Who may run now: limits of a creator, capacity of the workers, fairness. In Postgres.

Waiting runs cost no message and no retry. They are released in rounds: each creator's first
run before any creator's second, counting what they have running already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, F, Min, Q, QuerySet, Sum, Window
from django.db.models.functions import Now, RowNumber

from videos import runs as lifecycle
from videos import transport
from videos.conf import conf
from videos.models import Run, Worker

BULK = "bulk"
#: Released runs may be this many times the live worker slots, so that no slot idles.
_RELEASED_PER_SLOT = 2
_WORKER_FRESH = timedelta(seconds=10)
_MINUTE = timedelta(seconds=60)
_MOST_AT_ONCE = 1_000
#: Keys of the advisory locks; any two numbers that nothing else in the database uses.
RELEASE_LOCK = 0x6368726F6E01
SWEEP_LOCK = 0x6368726F6E02


def release() -> int:
    """Release waiting runs to the broker as far as limits and capacity allow; count them.

    One process at a time, so that the limits hold exactly.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [RELEASE_LOCK])
        released = _release_default() + _release_bulk()
        transaction.on_commit(partial(transport.enqueue, released), robust=True)
    return len(released)


def live_slots() -> int:
    """Return the threads of all workers with a fresh heartbeat."""
    fresh = Worker.objects.filter(last_seen__gt=Now() - _WORKER_FRESH)
    return fresh.aggregate(slots=Sum("threads"))["slots"] or 0


def _release_default() -> list[Run]:
    waiting = _waiting().exclude(queue=BULK)
    if not waiting.exists():
        return []
    busy = Run.objects.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING]).exclude(queue=BULK)
    room = _RELEASED_PER_SLOT * live_slots() - busy.count()
    held, starts = _held_slots(), _recent_starts()
    chosen: list[Run] = []
    blocked: dict[str, list[Any]] = {"concurrency": [], "rate": [], "capacity": []}
    for run in _in_rounds(waiting, held):
        reason = _blocked_by(run, held, starts)
        if reason is None and room <= 0:
            reason = "capacity"
        if reason is not None:
            blocked[reason].append(run)
            continue
        chosen.append(run)
        held[run.creator_id] += 1
        starts[run.creator_id] += 1
        room -= 1
    released = _mark_released(chosen)
    _note_reasons(blocked)
    return released


def _release_bulk() -> list[Run]:
    waiting = _waiting().filter(queue=BULK)
    if not waiting.exists() or not live_slots():
        return []
    held = Run.objects.filter(holds_slot=True, queue=BULK).count()
    room = max(0, conf().bulk_concurrency - held)
    ordered = list(waiting.order_by("-priority", "created_at")[: room + _MOST_AT_ONCE])
    released = _mark_released(ordered[:room])
    late = [run.pk for run in ordered[room:] if run.waiting_reason != "concurrency"]
    if late:
        _waiting().filter(pk__in=late).update(waiting_reason="concurrency")
    return released


def _waiting() -> QuerySet[Run]:
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=Now())
    return Run.objects.filter(due, state=Run.State.WAITING, holds_slot=False)


def _in_rounds(waiting: QuerySet[Run], held: Counter[Any]) -> list[Run]:
    ranked = waiting.annotate(
        turn=Window(
            RowNumber(),
            partition_by="creator",
            order_by=[F("priority").desc(), F("created_at").asc(), F("id").asc()],
        )
    )
    limit = conf().creator_concurrency or _MOST_AT_ONCE
    runs = list(ranked.filter(turn__lte=limit + 1).order_by("turn", "created_at")[:_MOST_AT_ONCE])
    turns = {run.pk: run.turn + held[run.creator_id] for run in runs}
    return sorted(runs, key=lambda run: (-run.priority, turns[run.pk], run.created_at))


def _held_slots() -> Counter[Any]:
    rows = Run.objects.filter(holds_slot=True).exclude(queue=BULK).values("creator")
    return Counter({row["creator"]: row["held"] for row in rows.annotate(held=Count("id"))})


def _recent_starts() -> Counter[Any]:
    recent = Run.objects.filter(released_at__gt=Now() - _MINUTE).exclude(queue=BULK)
    rows = recent.values("creator").annotate(started=Count("id"))
    return Counter({row["creator"]: row["started"] for row in rows})


def _blocked_by(run: Run, held: Counter[Any], starts: Counter[Any]) -> str | None:
    """Return the limit that keeps a creator's run waiting; runs of nobody have none."""
    if run.creator_id is None:
        return None
    concurrency, per_minute = (
        conf().creator_concurrency,
        conf().creator_starts_per_minute,
    )
    if concurrency and held[run.creator_id] >= concurrency:
        return "concurrency"
    if per_minute and starts[run.creator_id] >= per_minute:
        return "rate"
    return None


def _note_reasons(blocked: dict[str, list[Run]]) -> None:
    """Write why runs wait, where it is news: a creator's limit on all that the creator has.

    A limit of starts says when it ends, and the runs are not looked at until then.
    """
    waiting = Run.objects.filter(state=Run.State.WAITING, holds_slot=False)
    full = [run.pk for run in blocked.get("capacity", []) if run.waiting_reason != "capacity"]
    if full:
        waiting.filter(pk__in=full).update(waiting_reason="capacity")
    for reason in ("concurrency", "rate"):
        creators = {run.creator_id for run in blocked.get(reason, [])}
        theirs = waiting.filter(creator__in=creators).exclude(queue=BULK)
        if creators and reason == "concurrency":
            theirs.exclude(waiting_reason=reason).update(waiting_reason=reason)
        elif creators:
            for creator_id, first in _rate_ends(creators):
                theirs.filter(creator=creator_id).update(
                    waiting_reason=reason, next_attempt_at=first + _MINUTE
                )


def _rate_ends(creator_ids: Iterable[Any]) -> list[tuple[Any, Any]]:
    recent = Run.objects.filter(
        creator__in=set(creator_ids), released_at__gt=Now() - _MINUTE
    ).exclude(queue=BULK)
    return list(recent.values_list("creator").annotate(first=Min("released_at")))


def _mark_released(chosen: list[Run]) -> list[Run]:
    """Mark runs as queued, unless they were cancelled or replaced meanwhile; return those."""
    waiting = Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        pk__in=[run.pk for run in chosen], state=Run.State.WAITING, holds_slot=False
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
    return [run for run in chosen if run.pk in still]
