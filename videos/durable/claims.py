"""Claims: a worker's time-limited right to a run. `heartbeat` renews them.

A worker claims a run by one conditional UPDATE, which raises the fencing token. Whatever the
worker writes afterwards is written in a transaction that checks the token (`Claim.guard`), so
that a stale worker changes nothing. Clocks are those of Postgres.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_any
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import transactions
from videos.durable.models import Run
from videos.durable.rows import Rows
from videos.exceptions import ClaimLost, HandedOver, RunCancelled

#: Seconds between two looks of a waiting stage at its claim.
CHECK_S = 0.5

Result = TypeVar("Result")

#: The claims of this process, which the heartbeat renews.
_live: set[Claim] = set()
_live_lock = threading.Lock()
#: While this process's worker ends: the seconds that its claims, and those to come, have for the
#: calls that they have in flight. None: it does not end.
_grace_s: float | None = None


class Claim:
    """A worker's time-limited right to execute a stage of a run, and those after it.

    With `carries_on`, a run that was moved to another stage (`runs.advance`) stays with its worker,
    and waits for no message. Without, its claim ends with the one stage.
    """

    def __init__(self, run: Run, stage: str, deadline_s: float, *, carries_on: bool = True) -> None:
        self.run = run
        self.stage = stage
        self.token = run.token
        self.deadline_s = deadline_s
        self.carries_on = carries_on
        #: Whether the run came to its stage in this claim.
        self.has_moved = False
        #: The run as it was moved to another stage, and the seconds that this may take.
        self._moved: tuple[Run, float] | None = None
        #: What ended the claim, and the time of `time.monotonic` from which nobody waits for it.
        self.ended_by: BaseException | None = None
        self.ended_at = 0.0

    def check(self, *, in_flight: bool = False) -> None:
        """Raise what ended the claim, if anything did: lost, handed over, cancelled, timed out.

        With a call `in_flight`, which will be paid, a hand-over waits for as long as it may.
        """
        may_wait = in_flight and isinstance(self.ended_by, HandedOver)
        if self.ended_by is not None and not (may_wait and time.monotonic() < self.ended_at):
            raise self.ended_by

    def await_call(
        self, within_s: float, call: Callable[..., Result], /, *args: Any, **kwargs: Any
    ) -> Result:
        """Return what the call returns, unless the claim ends before it does.

        A hand-over waits for it, as `check` says.

        Raises:
            TimeoutError: if it does not return within so many seconds; its thread goes on.
        """
        until = time.monotonic() + within_s
        future = start_call(call, *args, **kwargs)
        while not wait_for_any([future], timeout=CHECK_S).done:
            self.check(in_flight=True)
            if time.monotonic() > until:
                raise TimeoutError
        return future.result()

    def abort(self, reason: BaseException, grace_s: float = 0.0) -> None:
        """End the claim at its next `check`; the first reason counts, and the shortest grace.

        `grace_s` are the seconds that a call in flight is waited for.
        """
        ended_at = time.monotonic() + grace_s
        if self.ended_by is None:
            self.ended_by = reason
            self.ended_at = ended_at
        self.ended_at = min(self.ended_at, ended_at)

    @contextmanager
    def guard(self, *, cancelling: bool = False, skip: bool = False) -> Iterator[Run]:
        """Open a transaction in which the claim holds; its run is locked until the end.

        With `skip`, a run that somebody else has locked counts as lost: nothing is waited for.

        Raises:
            ClaimLost: if the run was claimed again, ended or deleted meanwhile.
            RunCancelled: if somebody asked for that, unless the guard is there to do it.
        """
        with transaction.atomic():
            run = self._locked(skip)
            if run is None:
                raise ClaimLost(f"run {self.run.pk} has another owner")
            run.creator = self.run.creator  # Read once a claim; it is there, as its run is.
            if run.cancel_requested and not cancelling:
                raise RunCancelled
            yield run

    def _locked(self, skip: bool) -> Run | None:
        """Do what `lock_run` does, for the run while it is claimed, in a tenth of its time.

        A stage opens a guard for each thing that it writes, and Django would compile the same
        two queries each time.
        """
        with connection.cursor() as cursor:
            cursor.execute(_lock_claimed(bool(self.run.video_id), skip), [self.run.pk, self.token])
            row = cursor.fetchone()
        if row is None:
            return None
        return _runs().made(row[:-1])

    def follow(self, run: Run, deadline_s: float) -> None:
        """Note, in the guard that moved the run to another stage, that this claim goes on there."""
        self._moved = run, deadline_s

    def carry_on(self) -> bool:
        """Turn to the stage that the run was moved to, if it was; tell whether."""
        if self._moved is None:
            return False
        video = self.run.video
        self.run, self.deadline_s = self._moved
        self.run.video = video
        self.stage = self.run.stage
        self._moved, self.has_moved = None, True
        return True

    def extend_deadline(self, seconds: float) -> None:
        """Let the stage take this long from now on, for example once the duration is known."""
        self.deadline_s = seconds
        # A worker that has lost the run changes nothing, and is told so by its next guard.
        Run.objects.filter(pk=self.run.pk, token=self.token).update(
            deadline_at=Now() + timedelta(seconds=seconds)
        )


@cache
def _runs() -> Rows[Run]:
    return Rows(Run, "run")


@cache
def _videos() -> Rows[Any]:
    return Rows(_video_model(), "video")


def _video_model() -> Any:
    return Run._meta.get_field("video").related_model


@cache
def _lock_claimed(has_video: bool, skip: bool) -> str:
    """Return the SQL that locks a claimed run, its video before it, and bounds the silence."""
    join, lock, skipping = "", "", "SKIP LOCKED" if skip else ""
    if has_video:
        join = f"JOIN {_video_model()._meta.db_table} AS video ON video.id = run.video_id"
        lock = f"FOR NO KEY UPDATE OF video {skipping}"
    return f"""
        SELECT {_runs().columns}, {transactions.BOUND_SILENCE}
        FROM {Run._meta.db_table} AS run {join}
        WHERE run.id = %s AND run.token = %s AND run.state = 'running'
        {lock} FOR UPDATE OF run {skipping}
        """


def lock_run(run: Run, *, skip: bool = False, **still: Any) -> Run | None:
    """Lock a run in the transaction that is open, and return it if it is `still` so.

    Its video is locked before it, here and wherever both are, so that nobody waits for each
    other. With `skip`, a run or video that somebody else has locked is None as well.
    """
    if run.video_id:
        subjects = _video_model()._base_manager
        locked = subjects.select_for_update(no_key=True, skip_locked=skip).filter(pk=run.video_id)
        if not locked.values_list("pk").first():
            return None
    runs = Run.objects.select_for_update(of=("self",), skip_locked=skip)
    return runs.filter(pk=run.pk, **still).first()


def start_call(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
    """Call in a daemon thread of its own: a socket that hangs keeps no stage and no worker."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="chronos-call", daemon=True).start()
    return future


@contextmanager
def claimed(
    run_id: UUID,
    stage: str,
    worker_id: UUID | None,
    deadlines: Mapping[str, float],
    *,
    carries_on: bool = True,
    deaths_below: int | None = None,
) -> Iterator[Claim | None]:
    """Claim a queued run for a stage, and those after it, for as long as the block runs.

    `deadlines` are the seconds that the stage may take, by the functions that have it. Yields None
    where there is nothing to claim: the message came twice or late, another worker was faster, the
    run has ended, its function is none of these, or no fewer than `deaths_below` workers died
    under it.
    """
    run = _taken(run_id, stage, worker_id, deadlines, deaths_below)
    if run is None:
        yield None
        return
    claim = Claim(run, stage, deadlines[run.function], carries_on=carries_on)
    if claim.run.cancel_requested:
        claim.abort(RunCancelled())
    with _live_lock:
        _live.add(claim)
        if _grace_s is not None:
            claim.abort(HandedOver(), _grace_s)
    try:
        yield claim
    finally:
        with _live_lock:
            _live.discard(claim)


@cache
def _take() -> str:
    """Return the SQL that claims a queued run, and returns it with its video.

    Of two workers with a message of the run, the second finds it running, and leaves it alone.
    """
    return f"""
        UPDATE {Run._meta.db_table} AS run
        SET state = 'running', token = run.token + 1, attempt = run.attempt + 1,
            worker_id = %(worker)s, lease_until = statement_timestamp() + %(lease)s,
            deadline_at = statement_timestamp()
                + (%(deadlines)s::jsonb ->> run.function)::float8 * interval '1 second',
            started_at = coalesce(run.started_at, statement_timestamp()),
            requeues = 0, waiting_reason = '', next_attempt_at = NULL
        FROM {Run._meta.db_table} AS same
            LEFT JOIN {_video_model()._meta.db_table} AS video ON video.id = same.video_id
        WHERE run.id = %(run)s AND run.stage = %(stage)s AND run.state = 'queued'
            AND same.id = run.id
            AND %(deadlines)s::jsonb ? run.function
            AND (%(deaths)s::int IS NULL OR run.deaths < %(deaths)s)
        RETURNING {_runs().columns}, {_videos().columns}
        """


def _taken(
    run_id: UUID,
    stage: str,
    worker_id: UUID | None,
    deadlines: Mapping[str, float],
    deaths_below: int | None,
) -> Run | None:
    """Claim a queued run, and return it with its video."""
    given: dict[str, Any] = {
        "run": run_id,
        "stage": stage,
        "worker": worker_id,
        "lease": timedelta(seconds=conf().lease_s),
        "deadlines": json.dumps(deadlines),
        "deaths": deaths_below,
    }
    with connection.cursor() as cursor:
        cursor.execute(_take(), given)
        row = cursor.fetchone()
    if row is None:
        return None
    run = _runs().made(row[: _runs().width])
    run.video = _videos().made(row[_runs().width :]) if run.video_id else None
    return run


def live_claims() -> list[Claim]:
    """Return the claims of this process."""
    with _live_lock:
        return list(_live)


def hand_over(grace_s: float) -> None:
    """Give the claims of this process, and those to come, to others at their next `check`.

    Their calls in flight are waited for, so many seconds at most.
    """
    global _grace_s
    with _live_lock:
        _grace_s = grace_s
        for claim in _live:
            claim.abort(HandedOver(), grace_s)


def keep() -> None:
    """Keep claims again: the worker has ended, what this process claims now is its own."""
    global _grace_s
    _grace_s = None
