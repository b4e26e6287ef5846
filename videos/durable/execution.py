"""Executing a stage of a run: the frame around every actor."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db import close_old_connections, transaction
from dramatiq.middleware import SkipMessage

from videos import events
from videos.durable import admission, claims, quarantine, runs, set_aside, steps
from videos.durable.claims import Claim
from videos.durable.enqueue import enqueue
from videos.durable.models import Run, SetAside, Step
from videos.durable.registry import Stage, registry
from videos.durable.transactions import DATABASE_ERRORS, is_lost
from videos.durable.workers import current_worker_id
from videos.exceptions import (
    ChronosError,
    CircuitOpen,
    ClaimLost,
    FunctionFault,
    HandedOver,
    RunCancelled,
    Yielded,
)
from videos.pipeline import statuses
from videos.text.storable import error_message, has_unstorable, json_problem

logger = logging.getLogger(__name__)

#: Names of steps that begin so are ours.
_RESERVED = "("
#: The step of an error that happened outside of any step.
_STAGE_STEP = "(stage)"
_MAX_STEP_NAME = 200

Result = TypeVar("Result")


class RunContext:
    """What a durable function gets as `run`."""

    def __init__(self, claim: Claim, run: Run) -> None:
        self._claim = claim
        self.id = run.pk
        self.attempt = run.attempt
        #: Why the run failed whose failure is being handled; empty in any other run.
        self.error = run.parent.error if run.parent else ""
        self.error_code = run.parent.error_code if run.parent else ""
        self._names: set[str] = set()
        self._ended_by: BaseException | None = None

    def step(self, name: str, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Call `call` once and keep its JSON result; a retried run gets that without a call.

        The result is what JSON makes of it, in the first attempt as in later ones: a tuple is a
        list, a key is a text. Names must be unique within a run, have 1 to 200 characters, and
        not begin with a parenthesis.

        Raises:
            FunctionFault: for a name that was used before or cannot be one, or a result that
                Postgres cannot hold as JSON; the run fails at once, without another call.
        """
        self.raise_if_ended()
        try:
            self._take_name(name)
            self._claim.check()
            return self._once(name, call, *args, **kwargs)
        except BaseException as error:
            # The function may swallow it; it would go on in a run that has ended or must wait.
            self._ended_by = error
            raise

    def raise_if_ended(self) -> None:
        """Raise once more what ended a step, if the function has swallowed it."""
        if self._ended_by is not None:
            raise self._ended_by

    def _take_name(self, name: str) -> None:
        is_text = isinstance(name, str) and 0 < len(name) <= _MAX_STEP_NAME
        if not is_text or name.startswith(_RESERVED) or has_unstorable(name):
            raise FunctionFault(
                f"{str(name)[:_MAX_STEP_NAME]!r} cannot be the name of a step: "
                f"1 to {_MAX_STEP_NAME} characters, not beginning with {_RESERVED!r}. Correct the "
                "function, then send the event again."
            )
        if name in self._names:
            raise FunctionFault(
                f"The function has two steps named {name!r}: the second would get the result of "
                "the first. Give each a name of its own, then send the event again."
            )
        self._names.add(name)

    def _once(self, name: str, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        with steps.step(self._claim, name) as row:
            if row.state == Step.State.DONE:
                return cast(Result, row.result)
            result = call(*args, **kwargs)
            if problem := json_problem(result):
                raise FunctionFault(
                    f"The result of the step {name!r} cannot be kept, {problem}. What the step did "
                    "is done, and is not repeated: correct what it returns, then send the event "
                    "again."
                )
            kept: Result = json.loads(json.dumps(result))
            with self._claim.guard() as run:
                steps.finish(run, row, kept)
        return kept


def call(callee: Callable[[RunContext, Any], object], data_type: Any, claim: Claim) -> None:
    """Call the function that is the one stage of a run, and complete the run.

    Raises:
        BaseException: whatever ended one of its steps, also if the function has swallowed it.
    """
    run = Run.objects.select_related("parent").get(pk=claim.run.pk)
    data = events.parse_as(data_type, run.data)
    context = RunContext(claim, run)
    callee(context, data)
    context.raise_if_ended()
    with claim.guard() as held:
        runs.complete(held)


def execute(run_id: UUID, stage: str) -> None:
    """Perform a stage of a run here, or apart if workers died under it.

    Raises:
        SkipMessage: whenever the pipeline must not go on to the next stage.
    """
    close_old_connections()
    try:
        apart = quarantine.is_needed(run_id)
    except DATABASE_ERRORS as error:
        raise SkipMessage(str(error)) from None
    if apart:
        try:
            quarantine.perform(run_id, stage, current_worker_id())
        finally:
            _admit_next(run_id)
    else:
        perform(run_id, stage, current_worker_id())


def perform(run_id: UUID, stage: str, worker_id: UUID | None) -> None:
    """Claim the run, perform the stage, and write down how it went.

    Raises:
        SkipMessage: whenever the pipeline must not go on to the next stage.
    """
    try:
        with claims.claimed(run_id, stage, worker_id) as claim:
            if claim is None:
                raise SkipMessage(f"run {run_id} is not waiting for {stage}")
            try:
                _perform_or_end(claim)
            finally:
                _admit_next(run_id)
    except ClaimLost as lost:
        raise SkipMessage(str(lost)) from None
    except SkipMessage:
        raise
    except Exception as error:
        if not is_lost(error):
            # Not even its failure could be written: others must not go on trying at once.
            set_aside.note(SetAside.Kind.STAGE, run_id, error)
            raise
        # The lease runs out, and the sweep sends the run to a worker that has a database.
        logger.warning("Run %s lost the database in %s: %s", run_id, stage, error)
        raise SkipMessage(str(error)) from None


def _perform_or_end(claim: Claim) -> None:
    """Perform the stage, or what somebody asked for meanwhile."""
    try:
        _perform(claim)
    except RunCancelled:
        with claim.guard(cancelling=True) as run:
            runs.cancel(run)
        raise SkipMessage(f"run {claim.run.pk} was cancelled") from None
    except HandedOver:
        with claim.guard(cancelling=True) as run:
            handed = [] if _is_cancelled(run) else runs.hand_over(run)
        enqueue(handed)
        raise SkipMessage(f"run {claim.run.pk} was handed over") from None
    except Yielded:
        with claim.guard(cancelling=True) as run:
            if not _is_cancelled(run):
                runs.yield_slot(run)
        raise SkipMessage(f"run {claim.run.pk} lets uploads go first") from None


def _is_cancelled(run: Run) -> bool:
    """Cancel a claimed run if somebody asked for that meanwhile; tell whether."""
    if run.cancel_requested:
        runs.cancel(run)
    return run.cancel_requested


def _admit_next(run_id: UUID) -> None:
    """Give the slot that a run has left to the next at once; without a database the sweep will."""
    try:
        if not Run.objects.filter(pk=run_id, holds_slot=True).exists():
            admission.release()
    except DATABASE_ERRORS as error:
        logger.warning("The next run is left to the sweep: %s", error)


def _perform(claim: Claim) -> None:
    stage = registry.functions[claim.run.function].stages[claim.stage]
    try:
        if claim.run.video_id:
            with claim.guard():
                statuses.entered(claim.run.video_id, claim.stage)
        stage.perform(claim)
    except steps.StepFailed as failure:
        _settle(claim, stage, failure.failures)
    except Exception as error:
        if is_lost(error):
            raise
        if isinstance(error, ChronosError) and error.waits_for:
            with claim.guard() as run:
                _put_off(run, error)
            raise SkipMessage(f"run {claim.run.pk} waits") from None
        step = steps.begin(claim, [_STAGE_STEP])[_STAGE_STEP]
        _settle(claim, stage, [(step, error)])
    else:
        return
    raise SkipMessage(f"run {claim.run.pk} did not finish {claim.stage}")


def _settle(claim: Claim, stage: Stage, failures: Sequence[tuple[Step, Exception]]) -> None:
    """Decide what follows from the errors of a stage's steps, and write it.

    One step that has failed for good fails the run; else it waits or is tried again once
    every failed step may be.
    """
    for _, error in failures:
        if is_lost(error):
            raise error
        if not isinstance(error, ChronosError):
            logger.error("Run %s failed in %s.", claim.run.pk, claim.stage, exc_info=error)
    with claim.guard() as run:
        delays = [(steps.fail(step, error, stage.retries), error) for step, error in failures]
        for delay, error in delays:
            if delay is None:
                runs.fail(run, *_said(error))
                return
        delay, error = max(delays, key=lambda entry: entry[0] or 0)
        if isinstance(error, ChronosError) and error.waits_for:
            _put_off(run, error)
        else:
            code, message = _said(error)
            runs.retry(run, delay or 0, message, code)


def _put_off(run: Run, error: ChronosError) -> None:
    behind = error.service if isinstance(error, CircuitOpen) else ""
    runs.wait(run, Run.Waiting(error.waits_for), error.retry_after_s, str(error), behind=behind)


def _said(error: Exception) -> tuple[str, str]:
    """Return an error's code, and its message for a person."""
    if isinstance(error, ChronosError):
        return error.code, str(error)
    return ChronosError.code, (
        f"Chronos met an error that it does not know: {type(error).__name__}: "
        f"{error_message(error)}. "
        "The worker's log has the details."
    )


def message_died(run_id: UUID, message_id: str, reason: str) -> None:
    """End a run whose message died; one that another message serves is left alone."""
    with transaction.atomic():
        found = Run.objects.filter(pk=run_id).first()
        run = runs.locked(found, state=Run.State.QUEUED) if found else None
        if run is None:
            return
        logger.error("Message %s of run %s died: %s", message_id, run_id, reason)
        runs.fail(run, ChronosError.code, reason)
    admission.release()
