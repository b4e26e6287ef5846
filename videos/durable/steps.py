"""Step rows: what a run's checkpoints are, as people and retries see them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db.models import F
from django.db.models.functions import Coalesce, Now

from videos.conf import conf
from videos.durable.claims import Claim
from videos.durable.models import Run, Step
from videos.durable.retries import retry_delay_s
from videos.exceptions import ChronosError, Signal
from videos.text.storable import error_message


class StepFailed(Signal):
    """Carries errors together with the steps in which they happened, past the function's code."""

    def __init__(self, failures: Sequence[tuple[Step, Exception]]) -> None:
        super().__init__("; ".join(error_message(error) for _, error in failures))
        self.failures = failures


def begin(claim: Claim, keys: Sequence[str]) -> dict[str, Step]:
    """Mark steps as running, creating them where they are new; return them by key."""
    with claim.guard() as run:
        Step.objects.bulk_create(
            [Step(run=run, stage=claim.stage, key=key) for key in keys],
            ignore_conflicts=True,
        )
        rows = Step.objects.filter(run=run, stage=claim.stage, key__in=keys)
        rows.exclude(state=Step.State.DONE).update(
            state=Step.State.RUNNING,
            attempts=F("attempts") + 1,
            started_at=Coalesce("started_at", Now()),
        )
        return {step.key: step for step in rows}


def put_back(begun: Sequence[Step]) -> None:
    """Mark steps that were begun, and then could not be tried, as if they never were."""
    rows = Step.objects.filter(pk__in=[step.pk for step in begun], state=Step.State.RUNNING)
    rows.update(state=Step.State.PENDING, attempts=F("attempts") - 1)


def finish(run: Run, step: Step, result: Any = None) -> None:
    """Mark a step as done, inside the guard that stores what it made."""
    Step.objects.filter(pk=step.pk).update(
        state=Step.State.DONE, result=result, error="", finished_at=Now()
    )
    if run.deaths:
        Run.objects.filter(pk=run.pk).update(deaths=0)


@contextmanager
def step(claim: Claim, key: str) -> Iterator[Step]:
    """Do one step in the block, which ends it by `finish`; a done one is yielded as it is.

    Raises:
        StepFailed: for any error but the loss or the end of the claim.
    """
    row = begin(claim, [key])[key]
    try:
        yield row
    except Exception as error:
        raise StepFailed([(row, error)]) from error


def fail(step: Step, error: Exception, retries: int) -> float | None:
    """Note a failed attempt, inside a guard; return the seconds until the next one, or None.

    Waiting for what is nobody's fault in the run costs no retry; a permanent error has none.
    """
    if isinstance(error, ChronosError) and error.waits_for:
        _note(step, Step.State.PENDING, error)
        return error.retry_after_s
    step.failures += 1
    delay = retry_delay_s(
        step.failures,
        retries,
        conf().retry_backoff_s,
        conf().retry_backoff_cap_s,
        random.random(),
    )
    if isinstance(error, ChronosError) and error.permanent:
        delay = None
    _note(step, Step.State.FAILED if delay is None else Step.State.RETRYING, error)
    return delay


def give_up(step: Step, error: Exception) -> None:
    """Note inside a guard that a step failed without which the run can do."""
    _note(step, Step.State.FAILED, error)


def _note(step: Step, state: Step.State, error: Exception) -> None:
    Step.objects.filter(pk=step.pk).update(
        state=state,
        failures=step.failures,
        error=error_message(error),
        finished_at=Now() if state == Step.State.FAILED else None,
    )
