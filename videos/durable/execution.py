"""Executing a stage of a run: what happens between a message's arrival and its end.

execute                a message has arrived: here, or in quarantine
  run_claimed          claim the run for as long as the stage works, and those after it
    _execute_claimed   the stage's own work; then what somebody asked for meanwhile
      _execute_stage   the stage's own work; then what follows from its errors
        _settle        wait, retry or fail (`retries.decide`)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import close_old_connections, transaction
from dramatiq.middleware import SkipMessage

from videos.durable import admission, messages, quarantine, runs, set_aside, steps
from videos.durable.claims import Claim, claimed, lock_run
from videos.durable.models import Run, SetAside, Step
from videos.durable.registry import Stage, registry
from videos.durable.retries import Decision, Fail, Wait, waits
from videos.durable.tracing import traced
from videos.durable.transactions import DATABASE_ERRORS, is_lost
from videos.durable.workers import current_worker_id
from videos.exceptions import ChronosError, ClaimLost, HandedOver, RunCancelled, Yielded
from videos.text.storable import error_message

logger = logging.getLogger(__name__)

#: The step of an error that happened outside of any step.
_STAGE_STEP = "(stage)"


def execute(run_id: UUID, stage: str) -> None:
    """Execute a stage of a run here, or in quarantine if workers died under it.

    Raises:
        SkipMessage: whenever Dramatiq's pipeline must not go on to the next stage.
    """
    close_old_connections()
    worker_id = current_worker_id()
    if run_claimed(run_id, stage, worker_id, deaths_below=quarantine.MAX_DEATHS):
        messages.end_pipeline()
        return
    if not _is_dangerous(run_id):
        raise SkipMessage(f"run {run_id} is not waiting for {stage}")
    try:
        quarantine.execute(run_id, stage, worker_id)
    finally:
        _admit_next(run_id)


def run_claimed(
    run_id: UUID,
    stage: str,
    worker_id: UUID | None,
    *,
    carries_on: bool = True,
    deaths_below: int | None = None,
) -> bool:
    """Claim the run, execute the stage and those after it, and write down how it went.

    Without `carries_on`, it is the one stage, and the others wait for their messages. Returns
    whether there was anything to claim, as `claimed` says.

    Raises:
        SkipMessage: whenever Dramatiq's pipeline must not go on to the next stage.
    """
    try:
        with claimed(
            run_id,
            stage,
            worker_id,
            registry.deadlines(stage),
            carries_on=carries_on,
            deaths_below=deaths_below,
        ) as claim:
            if claim is None:
                return False
            try:
                _execute_stages(claim)
            finally:
                _admit_next(run_id)
    except ClaimLost as lost:
        raise SkipMessage(str(lost)) from None
    except SkipMessage:
        raise
    except Exception as error:
        if not is_lost(error):
            # Not even its failure could be written: others must not go on trying at once.
            set_aside.record(SetAside.Kind.STAGE, run_id, error)
            raise
        # The lease runs out, and the sweep sends the run to a worker that has a database.
        logger.warning("Run %s lost the database in %s: %s", run_id, stage, error)
        raise SkipMessage(str(error)) from None
    return True


def _is_dangerous(run_id: UUID) -> bool:
    """Whether so many workers died under a run that it has to have a process of its own."""
    try:
        return Run.objects.filter(pk=run_id, deaths__gte=quarantine.MAX_DEATHS).exists()
    except DATABASE_ERRORS as error:
        raise SkipMessage(str(error)) from None


def _execute_stages(claim: Claim) -> None:
    """Execute the stage of a claim, and those to which it is carried on."""
    goes_on = True
    while goes_on:
        with traced(claim):
            _execute_claimed(claim)
        goes_on = claim.carry_on()


def _execute_claimed(claim: Claim) -> None:
    """Execute the stage, or do what somebody asked for meanwhile."""
    try:
        _execute_stage(claim, registry.functions[claim.run.function].stages[claim.stage])
    except RunCancelled:
        with claim.guard(cancelling=True) as run:
            runs.cancel(run)
        raise SkipMessage(f"run {claim.run.pk} was cancelled") from None
    except HandedOver:
        with claim.guard(cancelling=True) as run:
            handed = [] if _is_cancelled(run) else runs.hand_over(run)
        messages.enqueue(handed)
        raise SkipMessage(f"run {claim.run.pk} was handed over") from None
    except Yielded:
        with claim.guard(cancelling=True) as run:
            if not _is_cancelled(run):
                runs.yield_slot(run)
        raise SkipMessage(f"run {claim.run.pk} yields to uploads") from None


def _is_cancelled(run: Run) -> bool:
    """Cancel a claimed run if somebody asked for that meanwhile; tell whether."""
    if run.cancel_requested:
        runs.cancel(run)
    return run.cancel_requested


def _execute_stage(claim: Claim, stage: Stage) -> None:
    try:
        claim.check()
        stage.work(claim)
    except steps.StepFailed as failed:
        _settle(claim, stage, failed.failures)
    except Exception as error:
        if is_lost(error):
            raise
        # What counts a failure needs a step that counts it.
        _settle(claim, stage, [(None if waits(error) else _stage_step(claim), error)])
    else:
        return
    raise SkipMessage(f"run {claim.run.pk} did not finish {claim.stage}")


def _settle(claim: Claim, stage: Stage, failures: Sequence[tuple[Step | None, Exception]]) -> None:
    """Decide what follows from the errors of a stage's steps, and write it.

    One step that has failed for good fails the run; else it waits, or is tried again, once every
    failed step may be.
    """
    for _, error in failures:
        if is_lost(error):
            raise error
        if not isinstance(error, ChronosError):
            logger.error("Run %s failed in %s.", claim.run.pk, claim.stage, exc_info=error)
    with claim.guard() as run:
        decided = [(steps.fail(step, error, stage.retries), error) for step, error in failures]
        following, error = max(decided, key=lambda each: each[0].delay_s)
        code, message = _for_people(error)
        if isinstance(following, Wait):
            runs.wait(run, following, str(error))
        elif isinstance(following, Fail):
            runs.fail(run, code, message, refused_by=getattr(error, "service", ""))
        else:
            runs.retry(run, following.delay_s, message, code)
    _tell(claim, following, code, message)


def _tell(claim: Claim, following: Decision, code: str, message: str) -> None:
    """Write into the worker's log what became of a run, in one line."""
    what = f"Run {claim.run.pk} of video {claim.run.video_id}"
    said = " ".join(message.split())
    level = logging.INFO
    if isinstance(following, Fail):
        level, became = logging.WARNING, f"failed in {claim.stage}: {code}"
    elif isinstance(following, Wait):
        became = f"waits for {following.reason}, {following.delay_s:.0f} s or longer"
    else:
        became = f"tries {claim.stage} again in {following.delay_s:.0f} s"
    ids = {
        "run_id": str(claim.run.pk),
        "video_id": str(claim.run.video_id or ""),
        "creator_id": str(claim.run.creator_id or ""),
        "event_id": str(claim.run.event_id or ""),
        "error_code": code,
    }
    logger.log(level, "%s %s: %s", what, became, said, extra=ids)


def _stage_step(claim: Claim) -> Step:
    return steps.begin(claim, [_STAGE_STEP])[_STAGE_STEP]


def _for_people(error: Exception) -> tuple[str, str]:
    """Return an error's code, and its message for a person."""
    if isinstance(error, ChronosError):
        return error.code, str(error)
    return ChronosError.code, (
        f"Chronos hit an unexpected error: {type(error).__name__}: "
        f"{error_message(error)}. "
        "See the worker's log for details."
    )


def _admit_next(run_id: UUID) -> None:
    """Give the slot that a run has left to the next at once; without a database the sweep will."""
    try:
        admission.admit_after(run_id)
    except DATABASE_ERRORS as error:
        logger.warning("The next run is left to the sweep: %s", error)


def message_died(run_id: UUID, message_id: str, reason: str) -> None:
    """End a run whose message died; one that another message serves is left alone."""
    with transaction.atomic():
        found = Run.objects.filter(pk=run_id).first()
        run = lock_run(found, state=Run.State.QUEUED) if found else None
        if run is None:
            return
        logger.error("Message %s of run %s died: %s", message_id, run_id, reason)
        runs.fail(run, ChronosError.code, reason)
    admission.admit()
