"""A run's life: created, advanced, put off, ended. Claimed runs are changed inside their guard.

Only here and in `claims` is a run's state written. A change of a claimed run needs
no condition: its guard holds the row, and the token was checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F, QuerySet, Value
from django.db.models.functions import Least, Now, Power

from videos.durable import set_aside
from videos.durable.claims import Claim
from videos.durable.models import ACTIVE_STATES, Run, SetAside, Step
from videos.durable.paid import ledger
from videos.durable.registry import Function, registry
from videos.durable.retries import Wait

#: Fields of a run that has left its worker.
_WITHOUT_WORKER: dict[str, Any] = {"worker": None, "lease_until": None, "deadline_at": None}

#: A queued run without news for this long has lost its message; from the second time on it may
#: just be waiting for a thread, and is given twice as long. Queued runs are no more than threads.
_LOST_MESSAGE = timedelta(seconds=5)
_MAX_DOUBLINGS = 1


def create(
    function: Function,
    *,
    data: dict[str, Any],
    stage: str | None = None,
    queue: str | None = None,
    event_id: UUID | None = None,
    **links: Any,
) -> Run | None:
    """Create a waiting run; None if this event started this function already."""
    fields = {
        "data": data,
        "stage": stage or next(iter(function.stages)),
        "queue": queue or function.queue,
        **links,
    }
    if event_id is None:
        return Run.objects.create(function=function.name, **fields)
    run, created = Run.objects.get_or_create(
        event_id=event_id,
        function=function.name,
        video=links.get("video"),
        defaults=fields,
    )
    return run if created else None


def create_all(rows: Iterable[Run]) -> list[Run]:
    """Create the waiting runs that an app has made up, by one statement."""
    created = list(rows)
    # bulk_create() takes twice as long: it makes an expression of each value.
    fields = [field for field in Run._meta.concrete_fields if not field.has_db_default()]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    statement = f"COPY {Run._meta.db_table} ({columns}) FROM STDIN"
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for run in created:
            values = ((field, getattr(run, field.attname)) for field in fields)
            copy.write_row([field.get_db_prep_save(value, connection) for field, value in values])
            run._state.adding, run._state.db = False, connection.alias
            del run.created_at  # Whoever asks for it gets that of the database.
    return created


def inherit_steps(done: Iterable[tuple[Run, Step]]) -> None:
    """Give new runs what steps of others have made, so that it is not done, nor paid, again."""
    Step.objects.bulk_create(
        Step(
            run=run,
            stage=step.stage,
            key=step.key,
            state=step.state,
            result=step.result,
            attempts=step.attempts,
            started_at=step.started_at,
            finished_at=step.finished_at,
        )
        for run, step in done
    )


def replace(active: Sequence[Run]) -> None:
    """End runs in whose place others come; their workers lose the claim at their next write."""
    if active:
        # A run that ends by itself meanwhile is not active any more, and stays as it ended.
        rows = Run.objects.filter(pk__in=[run.pk for run in active], state__in=ACTIVE_STATES)
        # Locked in one order, so that of two who replace many nobody waits for the other.
        ids = list(rows.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
        _end(Run.objects.filter(pk__in=ids), Run.State.REPLACED, token=F("token") + 1)
        _close_steps(ids)


def advance(claim: Claim, run: Run) -> None:
    """Move a claimed run to the stage after its own; after the last one, end it well."""
    following = registry.functions[run.function].stages_from(run.stage)[1:]
    if following:
        move(claim, run, following[0])
    else:
        complete(run)


def move(claim: Claim, run: Run, stage: str, **fields: Any) -> bool:
    """Move a claimed run to a stage; tell whether its claim goes on with it.

    Else it is queued there, and a message has to follow.
    """
    rows = Run.objects.filter(pk=run.pk)
    if not claim.carries_on:
        rows.update(
            state=Run.State.QUEUED,
            stage=stage,
            message_lost_at=message_lost_at(),
            deaths=0,
            # The next stage's first claim is no new attempt at anything.
            attempt=F("attempt") - 1,
            **_WITHOUT_WORKER,
            **fields,
        )
        return False
    deadline_s = registry.functions[run.function].stages[stage].deadline_s
    ends = Now() + timedelta(seconds=deadline_s)
    rows.update(stage=stage, deaths=0, deadline_at=ends, **fields)
    for name, value in {"stage": stage, **fields}.items():
        setattr(run, name, value)
    registry.hooks.entered(run, stage)
    claim.follow(run, deadline_s)
    return True


def complete(run: Run) -> None:
    """End a claimed run well; what it waited for or tried again is no error of it."""
    _end(Run.objects.filter(pk=run.pk), Run.State.COMPLETED, error="", error_code="")


def retry(run: Run, delay_s: float, message: str, code: str) -> None:
    """Have a claimed run tried again in a while."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.RETRYING,
        next_attempt_at=Now() + timedelta(seconds=delay_s),
        error=message,
        error_code=code,
        **_WITHOUT_WORKER,
    )


def wait(run: Run, why: Wait, message: str) -> None:
    """Have a claimed run wait for what is nobody's fault in it: that was no attempt."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.WAITING,
        waiting_reason=Run.Waiting(why.reason),
        waits_behind=why.behind,
        holds_slot=why.keeps_slot,
        attempt=F("attempt") - 1,
        next_attempt_at=Now() + timedelta(seconds=why.delay_s),
        # Who sleeps has met no error.
        error="" if why.reason == Run.Waiting.ASLEEP else message,
        **_WITHOUT_WORKER,
    )


def wake(waiting: QuerySet[Run]) -> None:
    """Let runs that wait in the middle of their work go on now."""
    # One that went on, or ended, meanwhile waits for nothing, and is left as it is.
    waiting.filter(state=Run.State.WAITING, holds_slot=True).update(next_attempt_at=Now())


def give_waiting_reason(ids: Any, reason: Run.Waiting, until: datetime | None = None) -> None:
    """Write why runs wait for admission, and until when, if that is known."""
    # Those that were admitted, cancelled or replaced meanwhile do not wait, and are left alone.
    rows = Run.objects.filter(pk__in=ids, state=Run.State.WAITING)
    rows.update(waiting_reason=reason, **({"next_attempt_at": until} if until else {}))


def admit(ids: Iterable[UUID]) -> None:
    """Give waiting runs, whose rows the caller has locked, a slot, and queue them."""
    Run.objects.filter(pk__in=ids).update(
        state=Run.State.QUEUED,
        holds_slot=True,
        released_at=Now(),
        message_lost_at=message_lost_at(),
        waiting_reason="",
        next_attempt_at=None,
    )


def yield_slot(run: Run) -> None:
    """Have a claimed run of bulk work wait for a free thread again."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.WAITING,
        waiting_reason=Run.Waiting.CAPACITY,
        holds_slot=False,
        **_WITHOUT_WORKER,
    )


def revoke_admission(runs: Sequence[Run]) -> None:
    """Have admitted runs wait for admission again, without a slot: no worker serves their queue.

    A message that may still be there finds nothing to claim.
    """
    ids = [run.pk for run in runs]
    Run.objects.filter(pk__in=ids).update(
        state=Run.State.WAITING,
        waiting_reason=Run.Waiting.WORKER,
        holds_slot=False,
        # It was never begun: it counts among no starts of the last minute.
        released_at=None,
        next_attempt_at=None,
        **_WITHOUT_WORKER,
    )


def requeue(runs: Sequence[Run], *, deaths: int = 0, requeues: int = 0) -> list[Run]:
    """Queue runs again, for the caller to enqueue once this is committed; return them."""
    ids = [run.pk for run in runs]
    if not ids:
        return []
    Run.objects.filter(pk__in=ids).update(
        state=Run.State.QUEUED,
        message_lost_at=message_lost_at(),
        next_attempt_at=None,
        waiting_reason="",
        deaths=F("deaths") + deaths,
        requeues=F("requeues") + requeues,
        **_WITHOUT_WORKER,
    )
    return list(Run.objects.filter(pk__in=ids))


def reserve(run_id: UUID, stage: str, worker_id: UUID | None, within: timedelta) -> bool:
    """Keep a queued run for one process, which needs a while until it can claim it.

    Without this, a busy machine would take its message for lost meanwhile, and start another
    process, which makes it busier. Returns whether it was still free.
    """
    # Of two workers with a message of the run, the second finds it reserved, and lets it be.
    free = Run.objects.filter(pk=run_id, stage=stage, state=Run.State.QUEUED, worker=None)
    return bool(free.update(worker_id=worker_id, message_lost_at=Now() + within))


def end_leases(orphaned: QuerySet[Run]) -> None:
    """End the leases of runs whose workers are known to be dead; others take them at once."""
    running = orphaned.filter(state=Run.State.RUNNING)
    # What a dead worker's transaction has locked until Postgres ends it is left to its lease.
    free = running.select_for_update(skip_locked=True, of=("self",), no_key=True)
    running.filter(pk__in=free.values("pk")).update(lease_until=Now())


def take_from_worker(runs: Sequence[Run], *, deaths: int) -> list[Run]:
    """Take runs from workers that died or lost the database; return them, queued again."""
    ledger.forget_calls(run.pk for run in runs)
    return requeue(runs, deaths=deaths)


def hand_over(run: Run) -> list[Run]:
    """Give a claimed run back to the queue, for another worker; return it to be enqueued.

    What was asked for and is not booked by then, nobody here will learn the outcome of.
    """
    return take_from_worker([run], deaths=0)


def fail(run: Run, code: str, message: str, refused_by: str = "") -> None:
    """End a run for good, tell the hooks, and start the function's failure handler.

    `refused_by` is the service that refused its key: another run goes on with it once that works.
    """
    _end(
        Run.objects.filter(pk=run.pk),
        Run.State.FAILED,
        error=message,
        error_code=code,
        waits_behind=refused_by,
    )
    _close_steps([run.pk])
    registry.hooks.failed(run, code, message)
    function = registry.functions.get(run.function)
    if function and function.failure_handler:
        start_failure_handler(run, registry.functions[function.failure_handler])


def take_refused(run: Run) -> bool:
    """Take a failed run whose key was refused, to go on with another; tell whether it was there."""
    # Of two sweeps, the second finds it taken, and does nothing.
    refused = Run.objects.filter(pk=run.pk, state=Run.State.FAILED, waits_behind=run.waits_behind)
    return bool(refused.update(waits_behind=""))


def start_failure_handler(run: Run, handler: Function) -> list[Run]:
    """Start the handler of a failed run; if it cannot be started, the run has failed all the same.

    The sweep tries a handler again that was set aside.
    """

    def start(_: Sequence[Run]) -> list[Run]:
        created = create(handler, data=run.data, parent=run, creator_id=run.creator_id)
        return [created] if created else []

    return set_aside.start(SetAside.Kind.RUN, [run], handler.name, start)


def cancel(run: Run) -> None:
    """End a run that somebody cancelled, and tell the hooks."""
    _end(Run.objects.filter(pk=run.pk), Run.State.CANCELLED, token=F("token") + 1)
    _close_steps([run.pk])
    registry.hooks.cancelled(run)


def request_cancellation(run: Run) -> None:
    """Cancel a locked run: a running one ends at its next step, any other now."""
    if run.state == Run.State.RUNNING:
        Run.objects.filter(pk=run.pk).update(cancel_requested=True)
    else:
        cancel(run)


def _close_steps(run_ids: Sequence[UUID]) -> None:
    """End the steps that runs have begun, and do not finish any more."""
    begun = Step.objects.filter(
        run__in=run_ids, state__in=[Step.State.RUNNING, Step.State.RETRYING]
    )
    begun.update(state=Step.State.FAILED, finished_at=Now())


def _end(runs: QuerySet[Run], state: Run.State, **fields: Any) -> None:
    runs.update(
        state=state,
        holds_slot=False,
        next_attempt_at=None,
        waiting_reason="",
        finished_at=Now(),
        **_WITHOUT_WORKER,
        **fields,
    )


def message_lost_at() -> Any:
    """Return, as an SQL expression, when a run that is queued now has lost its message."""
    doublings = Power(2, Least(F("requeues"), _MAX_DOUBLINGS))
    return Now() + ExpressionWrapper(
        Value(_LOST_MESSAGE, DurationField()) * doublings, DurationField()
    )
