"""A run's life: created, advanced, put off, ended. Claimed runs are changed inside their guard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F, Value
from django.db.models.functions import Least, Now, Power

from videos.durable import set_aside
from videos.durable.models import ACTIVE_STATES, Run, SetAside, Step
from videos.durable.paid import ledger
from videos.durable.registry import Function, registry
from videos.durable.transactions import is_lost
from videos.models import Video
from videos.pipeline import statuses

#: Fields of a run that has left its worker.
_RELEASED: dict[str, Any] = {"worker": None, "lease_until": None, "deadline_at": None}

#: A queued run without news for this long has lost its message; from the second time on it may
#: just be waiting for a thread, and is given twice as long. Queued runs are no more than threads.
_LOST_MESSAGE = timedelta(seconds=5)
_MOST_DOUBLINGS = 1


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


def replace_active(video_id: UUID) -> None:
    """End whatever run the video has; its worker loses the claim at its next write."""
    _end(
        Run.objects.filter(video_id=video_id, state__in=ACTIVE_STATES),
        Run.State.REPLACED,
        token=F("token") + 1,
    )


def advance(run: Run, stage: str) -> None:
    """Move a claimed run to its next stage; call it inside `guard`."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.QUEUED,
        stage=stage,
        message_lost_at=message_lost_at(),
        deaths=0,
        # The next stage's first claim is no new attempt at anything.
        attempt=F("attempt") - 1,
        **_RELEASED,
    )


def complete(run: Run) -> None:
    """End a claimed run well; call it inside `guard`."""
    _end(Run.objects.filter(pk=run.pk), Run.State.COMPLETED)


def retry(run: Run, delay_s: float, message: str, code: str) -> None:
    """Have a claimed run tried again later; call it inside `guard`."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.RETRYING,
        next_attempt_at=Now() + timedelta(seconds=delay_s),
        error=message,
        error_code=code,
        **_RELEASED,
    )


def hand_over(run: Run) -> list[Run]:
    """Give a claimed run back to the queue, for another worker; return it to be enqueued.

    What was asked for and is not booked by then, nobody here will learn the outcome of.
    """
    return lose_worker([run], deaths=0)


def wait(run: Run, reason: Run.Waiting, delay_s: float, message: str, *, behind: str = "") -> None:
    """Have a claimed run wait for what is nobody's fault in it; call it inside `guard`.

    `behind` names the service whose breaker it waits behind.
    """
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.WAITING,
        waiting_reason=reason,
        waits_behind=behind,
        next_attempt_at=Now() + timedelta(seconds=delay_s),
        error=message,
        **_RELEASED,
    )


def yield_slot(run: Run) -> None:
    """Have a claimed run of bulk work wait for a free thread again; call it inside `guard`."""
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.WAITING,
        waiting_reason=Run.Waiting.CAPACITY,
        holds_slot=False,
        **_RELEASED,
    )


def revoke_admission(runs: Sequence[Run]) -> list[Run]:
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
        **_RELEASED,
    )
    return []


def locked(run: Run, *, skip: bool = False, **still: Any) -> Run | None:
    """Lock a run in the transaction that is open, and return it if it is `still` so.

    Its video is locked before it, here and wherever both are, so that nobody waits for each
    other. With `skip`, a run or video that somebody else has locked is None as well.
    """
    if run.video_id:
        videos = Video.objects.select_for_update(no_key=True, skip_locked=skip)
        if not videos.filter(pk=run.video_id).values_list("pk").first():
            return None
    runs = Run.objects.select_for_update(of=("self",), skip_locked=skip)
    return runs.filter(pk=run.pk, **still).first()


def fail(run: Run, code: str, message: str) -> None:
    """End a run for good, tell its video, and start the function's failure handler."""
    _end(
        Run.objects.filter(pk=run.pk),
        Run.State.FAILED,
        error=message,
        error_code=code,
    )
    open_steps = Step.objects.filter(run=run, state__in=[Step.State.RUNNING, Step.State.RETRYING])
    open_steps.update(state=Step.State.FAILED, finished_at=Now())
    if run.video_id:
        statuses.failed(run, code, message)
    function = registry.functions.get(run.function)
    if function and function.on_failure:
        start_handler(run, registry.functions[function.on_failure])


def start_handler(run: Run, handler: Function) -> list[Run]:
    """Start the handler of a failed run; if it cannot be started, the run has failed all the same.

    The sweep tries a handler again that was set aside.
    """
    try:
        with transaction.atomic():
            created = create(handler, data=run.data, parent=run, creator_id=run.creator_id)
            return [created] if created else []
    except Exception as error:  # Whatever the handler's row leads to.
        if is_lost(error):
            raise
        set_aside.note(SetAside.Kind.RUN, run.pk, error, handler.name)
        return []


def cancel(run: Run) -> None:
    """End a run that somebody cancelled."""
    _end(Run.objects.filter(pk=run.pk), Run.State.CANCELLED, token=F("token") + 1)
    if run.video_id:
        statuses.cancelled(run)


def _end(runs: Any, state: Run.State, **fields: Any) -> None:
    runs.update(
        state=state,
        holds_slot=False,
        next_attempt_at=None,
        waiting_reason="",
        finished_at=Now(),
        **_RELEASED,
        **fields,
    )


def queue_again(runs: Any, *, deaths: int = 0, requeues: int = 0) -> list[Run]:
    """Mark runs as queued, for the caller to enqueue once this is committed; return them."""
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
        **_RELEASED,
    )
    return list(Run.objects.filter(pk__in=ids))


def lose_worker(runs: Sequence[Run], *, deaths: int) -> list[Run]:
    """Take runs from workers that died or lost the database; return them, queued again."""
    ledger.forget_calls(run.pk for run in runs)
    return queue_again(runs, deaths=deaths)


def message_lost_at() -> Any:
    """Return, as an SQL expression, when a run that is queued now has lost its message."""
    doublings = Power(2, Least(F("requeues"), _MOST_DOUBLINGS))
    return Now() + ExpressionWrapper(
        Value(_LOST_MESSAGE, DurationField()) * doublings, DurationField()
    )
