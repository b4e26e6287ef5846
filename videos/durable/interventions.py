"""What operators do to runs: stop them, have them go on at once, run them again from a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from videos.durable import admission, runs
from videos.durable.claims import lock_run
from videos.durable.models import ACTIVE_STATES, Run, Step
from videos.durable.outbox import parse
from videos.durable.registry import WHOLE, registry
from videos.exceptions import EventRefused


def cancel(chosen: Iterable[Run]) -> list[Run]:
    """Cancel runs: waiting ones at once, running ones at their next step; return which."""
    stopped = []
    with admission.admitting_once():
        for run in chosen:
            with transaction.atomic():
                # One that ended meanwhile is left as it ended.
                active = lock_run(run, state__in=ACTIVE_STATES)
                if active is not None:
                    runs.request_cancellation(active)
                    stopped.append(active)
    return stopped


def run_now(run_ids: Iterable[UUID]) -> int:
    """Have runs that are tried again later, or wait until a time, go on now; count them."""
    later = Q(state=Run.State.RETRYING) | Q(state=Run.State.WAITING)
    # One that went on, or ended, meanwhile is none of them.
    put_off = Run.objects.filter(later, pk__in=list(run_ids), next_attempt_at__gt=Now())
    count = put_off.update(next_attempt_at=Now())
    admission.admit()
    return count


def can_rerun(run: Run) -> bool:
    """Whether `rerun` takes it: a function of one stage, about no video, and known."""
    function = registry.functions.get(run.function)
    return run.video_id is None and function is not None and [*function.stages] == [WHOLE]


def rerun(run: Run, data: Mapping[str, Any] | None = None, from_step: str | None = None) -> Run:
    """Run a function again, as it was or with other data, and return the new run.

    With `from_step`, the key of one of its steps, the new run has the results of those that were
    begun before it, and does the others.

    Raises:
        ValueError: for a run of a video, which is reprocessed; a function that there is no more; an
            event's data that do not fit; a step that the run does not have.
    """
    if not can_rerun(run):
        raise ValueError(
            f"{run} cannot be run again by itself: reprocess its video, or deploy its function."
        )
    function = registry.functions[run.function]
    given = run.data if data is None else dict(data)
    if function.event is not None:
        try:
            parse(function.event, given)
        except EventRefused as refused:
            raise ValueError(str(refused)) from None
    return _again(run, given, [] if from_step is None else _before(run, from_step))


def resume(run: Run) -> Run:
    """Go on with a function's run that failed: the new run has all that it has done.

    Raises:
        ValueError: as `rerun`.
    """
    if not can_rerun(run):
        raise ValueError(f"{run} cannot be resumed by itself.")
    return _again(run, run.data, Step.objects.filter(run=run, state=Step.State.DONE))


def _again(run: Run, given: Mapping[str, Any], kept: Iterable[Step]) -> Run:
    function = registry.functions[run.function]
    with transaction.atomic():
        again = runs.create(
            function,
            data=dict(given),
            queue=run.queue,
            creator_id=run.creator_id,
            parent_id=run.parent_id,
        )
        assert again is not None, "a run without an event is never a second one of it"
        runs.inherit_steps((again, step) for step in kept)
    admission.admit()
    again.refresh_from_db()
    return again


def _before(run: Run, key: str) -> list[Step]:
    """Return the steps that were done before one was begun for the first time."""
    rows = list(Step.objects.filter(run=run).order_by(F("started_at").asc(nulls_last=True), "id"))
    keys = [row.key for row in rows]
    if key not in keys:
        raise ValueError(f"{run} has no step {key!r}. Its steps: {', '.join(keys) or 'none'}.")
    return [row for row in rows[: keys.index(key)] if row.state == Step.State.DONE]
