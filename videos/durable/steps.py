"""Step rows: what a run's checkpoints are, as people and retries see them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.utils import timezone
from uuid6 import uuid7

from videos.conf import conf
from videos.durable.claims import Claim
from videos.durable.models import Run, Step
from videos.durable.retries import Decision, Fail, Retry, RetryPolicy, Wait, decide
from videos.durable.transactions import after_commit
from videos.exceptions import Asleep, Signal
from videos.text.storable import error_message

_STATE_AFTER = {
    Wait: Step.State.PENDING,
    Retry: Step.State.RETRYING,
    Fail: Step.State.FAILED,
}


class StepFailed(Signal):
    """Carries errors together with the steps in which they happened, past the function's code."""

    def __init__(self, failures: Sequence[tuple[Step, Exception]]) -> None:
        super().__init__("; ".join(error_message(error) for _, error in failures))
        self.failures = failures


_ROW = "(%s, %s, %s, %s, 'running', 1, 0, '', statement_timestamp())"
#: What is done stays as it is.
_BEGIN = f"""
    INSERT INTO {Step._meta.db_table} AS step
        (id, run_id, stage, key, state, attempts, failures, error, started_at)
    VALUES {{}}
    ON CONFLICT (run_id, stage, key) DO UPDATE SET
        state = CASE step.state WHEN 'done' THEN 'done' ELSE 'running' END,
        attempts = step.attempts + CASE step.state WHEN 'done' THEN 0 ELSE 1 END,
        started_at = CASE step.state
            WHEN 'done' THEN step.started_at
            ELSE coalesce(step.started_at, statement_timestamp()) END
    RETURNING *
    """


#: The same of a step that begins and ends in one transaction, after so much time.
_FINISH = f"""
    INSERT INTO {Step._meta.db_table} AS step
        (id, run_id, stage, key, state, attempts, failures, error, result, started_at, finished_at)
    VALUES (%s, %s, %s, %s, 'done', 1, 0, '', %s,
        statement_timestamp() - %s * interval '1 second', statement_timestamp())
    ON CONFLICT (run_id, stage, key) DO UPDATE SET
        state = 'done',
        attempts = step.attempts + 1,
        error = '',
        result = excluded.result,
        started_at = coalesce(step.started_at, excluded.started_at),
        finished_at = excluded.finished_at
    """


def begin(claim: Claim, keys: Sequence[str]) -> dict[str, Step]:
    """Mark steps as running, creating them where they are new; return them by key."""
    with claim.guard() as run:
        return _begin(run, claim.stage, keys)


def _begin(run: Run, stage: str, keys: Sequence[str]) -> dict[str, Step]:
    given = [value for key in keys for value in (uuid7(), run.pk, stage, key)]
    rows = Step.objects.raw(_BEGIN.format(", ".join([_ROW] * len(keys))), given)
    return {step.key: step for step in rows}


def plan(claim: Claim, key: str) -> Step:
    """Return a step that is not written yet: `begin_planned` does that, or `finish`."""
    return Step(run_id=claim.run.pk, stage=claim.stage, key=key, started_at=timezone.now())


def begin_planned(run: Run, steps: Sequence[Step]) -> None:
    """Mark steps as running, in a guard that writes what they begin with, such as their calls.

    Those begun before stay as they are.
    """
    planned = {step.key: step for step in steps if step._state.adding}
    if planned:
        begun = _begin(run, steps[0].stage, list(planned))
        for key, step in planned.items():
            step.pk = begun[key].pk
        after_commit(_adopt, planned, begun)


def _adopt(planned: dict[str, Step], begun: dict[str, Step]) -> None:
    """Make planned steps what was written of them, once that is committed."""
    for key, step in planned.items():
        vars(step).update(vars(begun[key]))


def seconds_since_begun(step: Step) -> float:
    """Return how long ago a step was begun for the first time, by the database's clock."""
    since = ExpressionWrapper(Now() - F("started_at"), DurationField())
    (passed,) = Step.objects.filter(pk=step.pk).values_list(since, flat=True)
    return float(passed.total_seconds())


def finish(run: Run, step: Step, result: Any = None) -> None:
    """Mark a step as done, inside the guard that stores what it made."""
    if step._state.adding:
        assert step.started_at is not None, "`plan` has noted it"
        passed_s = (timezone.now() - step.started_at).total_seconds()
        made = None if result is None else json.dumps(result)
        with connection.cursor() as cursor:
            cursor.execute(_FINISH, [uuid7(), run.pk, step.stage, step.key, made, passed_s])
    else:
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


@contextmanager
def planned_step(claim: Claim, key: str) -> Iterator[Step]:
    """Do one step whose row is written with what it begins with, or with what it made: not before.

    It cannot tell whether an earlier attempt has done it.

    Raises:
        StepFailed: for any error but the loss or the end of the claim.
    """
    row = plan(claim, key)
    try:
        yield row
    except Exception as error:
        if row._state.adding:
            row = begin(claim, [key])[key]
        raise StepFailed([(row, error)]) from error


def decision(failures: int, error: Exception, retries: int) -> Decision:
    """Return what follows from an error after so many failures of a step, retried so often."""
    settings = conf()
    policy = RetryPolicy(retries, settings.retry_backoff_s, settings.retry_backoff_cap_s)
    return decide(error, failures, policy, random.random())


def fail(step: Step | None, error: Exception, retries: int) -> Decision:
    """Record a failed attempt of a step, inside a guard; return what follows from it."""
    following = decision(step.failures if step else 0, error, retries)
    if step is not None:
        _record(step, error, following)
    return following


def give_up(step: Step, error: Exception) -> None:
    """Record inside a guard that a step failed without which the run can do."""
    _record(step, error, Fail())


def _record(step: Step, error: Exception, following: Decision) -> None:
    if not isinstance(following, Wait):
        step.failures += 1
    Step.objects.filter(pk=step.pk).update(
        state=_STATE_AFTER[type(following)],
        failures=step.failures,
        error="" if isinstance(error, Asleep) else error_message(error),
        finished_at=Now() if isinstance(following, Fail) else None,
    )
