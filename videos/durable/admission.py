"""Who may run now: limits of a creator, capacity of the workers, fairness. In Postgres.

Waiting runs cost no message and no retry. They are admitted in rounds: each creator's first run
before any creator's second, counting what they have running already. Within a round the creator
who was served longest ago goes first; of those never served, the one who wants least.

    waiting   no slot: counted by nobody, held back by a limit or for want of a thread
    admitted  has a slot (`holds_slot`), which counts toward its creator's limit until it ends
    queued    admitted, and its message is on its way to a worker
    running   admitted, and a worker has claimed it
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import Now, RowNumber

from videos.conf import conf
from videos.durable import pauses, transactions
from videos.durable import runs as lifecycle
from videos.durable.capacity import WORKER_FRESH_S, Capacity
from videos.durable.creator_limits import MINUTE, CreatorLimits, rate_ends
from videos.durable.messages import enqueue
from videos.durable.models import Run, Worker
from videos.durable.paid import budgets
from videos.durable.priorities import BULK, URGENT
from videos.durable.transactions import after_commit
from videos.exceptions import Yielded

_deferred = threading.local()
#: Whether an ended run has left its slot, one waits that could take it, and how many of its queue
#: lie ready beside how many threads there are.
_AFTER = f"""
    SELECT NOT EXISTS (SELECT FROM {Run._meta.db_table} WHERE id = %s AND holds_slot),
        EXISTS (SELECT FROM {Run._meta.db_table} WHERE state = 'waiting' AND NOT holds_slot
            AND (next_attempt_at IS NULL OR next_attempt_at <= statement_timestamp())),
        (SELECT count(*) FROM {Run._meta.db_table} WHERE state = 'queued'
            AND queue = (SELECT queue FROM {Run._meta.db_table} WHERE id = %s)),
        (SELECT coalesce(sum(threads), 0) FROM {Worker._meta.db_table}
            WHERE last_seen > statement_timestamp() - interval '{WORKER_FRESH_S} seconds')
    """
_NEVER = datetime.min.replace(tzinfo=UTC)


def admit(*, explains: bool = True) -> int:
    """Admit waiting runs as far as limits and capacity allow; count them.

    One process at a time, so that the limits hold exactly. Why the others wait is written after
    the messages are on their way; without `explains`, by the next sweep.
    """
    if getattr(_deferred, "is_on", False):
        return 0
    with transaction.atomic():
        transactions.hold(transactions.ADMISSION)
        capacity = Capacity()
        free, held_back = waiting(), []
        for reason, condition in [
            (Run.Waiting.PAUSED, pauses.condition()),
            (Run.Waiting.BUDGET, budgets.condition()),
        ]:
            if condition is not None:
                held_back.append((free.filter(condition), reason))
                free = free.exclude(condition)
        limits = CreatorLimits()
        queues = set(free.order_by().values_list("queue", flat=True).distinct())
        admitted, others_wait = _admit_default(free, queues - {BULK}, capacity, limits)
        if BULK in queues:
            admitted_bulk, reason = _admit_bulk(free, capacity)
            admitted += admitted_bulk
            held_back.append((free.filter(queue=BULK), reason))
        if admitted:
            after_commit(enqueue, admitted)
    if not explains:
        return len(admitted)
    for those, reason in held_back:
        with transaction.atomic():
            _give_reason(those, reason)
    if others_wait:
        with transaction.atomic():
            # As it was decided: a slot that was left since then is given to its next by others,
            # who must find that run's row free.
            _write_reasons(free, limits, capacity)
    return len(admitted)


def admit_after(run_id: UUID) -> None:
    """Give the slot that a run has left to the next at once, unless enough lie ready.

    While half the threads have a run waiting for them, others end before any thread idles, and
    the last of those admits many at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(_AFTER, [run_id, run_id])
        has_left, is_wanted, ready, threads = cursor.fetchone()
    if has_left and is_wanted and 2 * ready < threads:
        admit(explains=False)


@contextmanager
def admitting_once() -> Iterator[None]:
    """Admit once, at the end of a block in which this thread starts or stops many runs.

    Within another such block it is that one which admits.
    """
    is_within = getattr(_deferred, "is_on", False)
    _deferred.is_on = True
    try:
        yield
    finally:
        _deferred.is_on = is_within
        admit()


def yield_if_preempted(run: Run) -> None:
    """Look, between two steps of bulk work, whether an upload waits for its thread.

    Raises:
        Yielded: if so; the run goes on once a thread is free.
    """
    if run.queue != BULK:
        return
    capacity = Capacity()
    uploads = capacity.sharing(BULK, Run.objects.all()).filter(
        Q(state=Run.State.QUEUED)
        | Q(state=Run.State.WAITING, waiting_reason=Run.Waiting.CAPACITY, holds_slot=False)
    )
    if not capacity.has_idle_thread(BULK) and uploads.exists():
        raise Yielded


def waiting() -> QuerySet[Run]:
    """Return the runs that may be admitted as soon as limits and capacity allow."""
    due = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=Now())
    return Run.objects.filter(due, state=Run.State.WAITING, holds_slot=False)


def _admit_default(
    free: QuerySet[Run], queues: Collection[str], capacity: Capacity, limits: CreatorLimits
) -> tuple[list[Run], bool]:
    """Admit runs of these queues; return them, and whether others go on waiting."""
    room = {queue: capacity.room(queue) for queue in queues if capacity.room(queue) > 0}
    if not room:
        return [], bool(queues)
    chosen: list[UUID] = []
    due = _in_rounds(free.filter(queue__in=room), limits.slots, max(room.values()))
    for run in due:
        if capacity.room(run.queue) > 0 and limits.admits(run):
            chosen.append(run.pk)
            capacity.take(run.queue)
            limits.take(run)
    admitted = _admit(chosen)
    wanted = sum({run.creator_id: run.wanted for run in due}.values())
    return admitted, len(room) < len(queues) or len(admitted) < wanted


def _admit_bulk(free: QuerySet[Run], capacity: Capacity) -> tuple[list[Run], Run.Waiting]:
    """Admit bulk runs to threads that nothing else wants now; return why others wait, too."""
    due = free.filter(queue=BULK)
    held = Run.objects.filter(holds_slot=True, queue=BULK).count()
    idle = capacity.idle(BULK)
    pool = conf().bulk_concurrency - held
    room = max(0, min(pool, idle))
    ordered = due.order_by("-priority", "created_at").values_list("pk", flat=True)
    admitted = _admit(list(ordered[:room]))
    if capacity.has_workers and not capacity.is_served(BULK):
        return admitted, Run.Waiting.WORKER
    return admitted, Run.Waiting.CONCURRENCY if pool <= idle else Run.Waiting.CAPACITY


def _in_rounds(due: QuerySet[Run], held: Counter[Any], room: int) -> list[Any]:
    """Return runs in the order of admission: of each creator and queue as many as may have room.

    Each has as `wanted` how many its creator has.
    """
    ranked = due.annotate(
        turn=Window(
            RowNumber(),
            partition_by=["creator", "queue"],
            order_by=[F("priority").desc(), F("created_at").asc(), F("id").asc()],
        ),
        wanted=Window(Count("id"), partition_by="creator"),
    )
    each = min(room, conf().creator_concurrency or room)
    ranked = ranked.only("creator", "queue", "priority", "created_at")
    runs = list(ranked.filter(turn__lte=each))
    served = _last_served({run.creator_id for run in runs})

    def place(run: Any) -> tuple[Any, ...]:
        in_round = run.turn + held[run.creator_id]
        last = served.get(run.creator_id, _NEVER)
        return (-run.priority, in_round, last, run.wanted, run.created_at)

    return sorted(runs, key=place)


def _last_served(creator_ids: Iterable[Any]) -> dict[Any, datetime]:
    """Return when each creator's last run was admitted; those never served are not in it."""
    theirs = Run.objects.filter(creator=OuterRef("pk"), released_at__isnull=False)
    last = theirs.exclude(queue=BULK).order_by("-released_at").values("released_at")[:1]
    creators = get_user_model().objects.filter(pk__in=[each for each in creator_ids if each])
    rows = creators.annotate(served=Subquery(last)).filter(served__isnull=False)
    return dict(rows.values_list("pk", "served"))


def _admit(chosen: Sequence[UUID]) -> list[Run]:
    """Admit runs, unless they were cancelled or replaced meanwhile; return those, in order."""
    if not chosen:
        return []
    still_waiting = Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        pk__in=chosen, state=Run.State.WAITING, holds_slot=False
    )
    found = still_waiting.in_bulk()
    lifecycle.admit(found)
    return [found[run_id] for run_id in chosen if run_id in found]


def _write_reasons(free: QuerySet[Run], limits: CreatorLimits, capacity: Capacity) -> None:
    """Write why runs wait, where it is news: a creator's limit on all that the creator has.

    A limit of starts says when it ends, and the runs are not looked at until then. Where workers
    live, but none serves a run's queue, that is the reason.
    """
    full = limits.creators_at(Run.Waiting.CONCURRENCY)
    late = limits.creators_at(Run.Waiting.RATE)
    due = free.filter(priority__lt=URGENT).exclude(queue=BULK)
    if capacity.has_workers:
        _give_reason(capacity.unserved(due), Run.Waiting.WORKER)
        due = capacity.served(due)
    _give_reason(due.filter(creator__in=full), Run.Waiting.CONCURRENCY)
    for creator_id, first in rate_ends(late) if late else []:
        _give_reason(due.filter(creator=creator_id), Run.Waiting.RATE, first + MINUTE)
    _give_reason(due.exclude(creator__in=[*full, *late]), Run.Waiting.CAPACITY)


def _give_reason(due: QuerySet[Run], reason: Run.Waiting, until: datetime | None = None) -> None:
    """Write a reason on the runs that have another; those that somebody has locked are left out.

    Two processes that waited for each other's rows here, each holding some, would never go on.
    """
    news = due if until else due.exclude(waiting_reason=reason)
    free = news.select_for_update(skip_locked=True, of=("self",), no_key=True)
    lifecycle.give_waiting_reason(free.order_by().values("pk"), reason, until)
