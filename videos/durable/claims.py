"""Claims: a worker's time-limited right to a run, and the heartbeat that renews it.

A worker claims a run by one conditional UPDATE, which raises the fencing token. Whatever the
worker writes afterwards is written in a transaction that checks the token (`Claim.guard`), so
that a stale worker changes nothing. Clocks are those of Postgres.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_any
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from videos.conf import conf
from videos.durable import runs, set_aside, transactions
from videos.durable.models import Run, SetAside
from videos.durable.registry import registry
from videos.durable.transactions import is_lost
from videos.exceptions import ClaimLost, HandedOver, RunCancelled, TimedOut

#: Seconds between two looks of a waiting stage at its claim.
CHECK_S = 0.5
#: Seconds after which a stage that was told to end, and did not, is taken for stuck.
_STUCK_S = 30.0

Result = TypeVar("Result")

#: The claims of this process, which the heartbeat renews.
_live: set[Claim] = set()
_live_lock = threading.Lock()
#: Set while this process's worker ends: what it claims by then goes to another at once.
_handing_over = threading.Event()


class Claim:
    """A worker's time-limited right to execute one stage of a run."""

    def __init__(self, run: Run, stage: str, deadline_s: float) -> None:
        self.run = run
        self.stage = stage
        self.token = run.token
        self.deadline_s = deadline_s
        self._end: BaseException | None = None
        self._ended_at = 0.0
        self._given_up = False
        self._give_up_at = 0.0

    def check(self) -> None:
        """Raise what ended the claim, if anything did: lost, handed over, cancelled, timed out."""
        if self._end is not None:
            raise self._end

    def await_call(
        self, within_s: float, call: Callable[..., Result], /, *args: Any, **kwargs: Any
    ) -> Result:
        """Return what the call returns, unless the claim ends before it does.

        Raises:
            TimeoutError: if it does not return within so many seconds; its thread goes on.
        """
        until = time.monotonic() + within_s
        future = start_call(call, *args, **kwargs)
        while not wait_for_any([future], timeout=CHECK_S).done:
            self.check()
            if time.monotonic() > until:
                raise TimeoutError
        return future.result()

    def abort(self, reason: BaseException) -> None:
        """End the claim at its next `check`; the first reason counts."""
        if self._end is None:
            self._end = reason
            self._ended_at = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """Whether its stage was told to end a while ago, and does not look."""
        return self._end is not None and time.monotonic() - self._ended_at > _STUCK_S

    def give_up(self) -> None:
        """End the run, once, in the place of a stage that does not look at its claim.

        Its thread stays busy with what it does, and is none that can take another run. If the end
        cannot be written, that costs no other claim its lease: it is tried again later.
        """
        if self._given_up or time.monotonic() < self._give_up_at:
            return
        try:
            # The heartbeat waits for nobody's lock: the stage itself may be the one who has it.
            with self.guard(cancelling=True, skip=True) as run:
                if isinstance(self._end, TimedOut):
                    runs.fail(run, TimedOut.code, str(self._end))
                elif isinstance(self._end, HandedOver):
                    runs.hand_over(run)
                else:
                    runs.cancel(run)
        except ClaimLost:
            return  # It has ended, another worker has it, or its row is locked just now.
        except Exception as error:
            if is_lost(error):
                raise
            self._give_up_at = time.monotonic() + _STUCK_S
            set_aside.note(SetAside.Kind.RUN, self.run.pk, error)
            return
        self._given_up = True

    @contextmanager
    def guard(self, *, cancelling: bool = False, skip: bool = False) -> Iterator[Run]:
        """Open a transaction in which the claim holds; its run is locked until the end.

        With `skip`, a run that somebody else has locked counts as lost: nothing is waited for.

        Raises:
            ClaimLost: if the run was claimed again, ended or deleted meanwhile.
            RunCancelled: if somebody asked for that, unless the guard is there to do it.
        """
        with transaction.atomic():
            transactions.bound_silence()
            run = runs.locked(self.run, skip=skip, token=self.token, state=Run.State.RUNNING)
            if run is None:
                raise ClaimLost(f"run {self.run.pk} has another owner")
            if run.cancel_requested and not cancelling:
                raise RunCancelled
            yield run

    def extend_deadline(self, seconds: float) -> None:
        """Let the stage take this long from now on, for example once the duration is known."""
        self.deadline_s = seconds
        Run.objects.filter(pk=self.run.pk, token=self.token).update(
            deadline_at=Now() + timedelta(seconds=seconds)
        )


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
def claimed(run_id: UUID, stage: str, worker_id: UUID | None) -> Iterator[Claim | None]:
    """Claim a queued run for one stage, for as long as the block runs.

    Yields None where there is nothing to claim: the message came twice or late, another
    worker was faster, or the run has ended.
    """
    function_name = Run.objects.filter(pk=run_id).values_list("function", flat=True).first()
    function = registry.functions.get(function_name or "")
    if function is None or stage not in function.stages:
        yield None
        return
    deadline_s = function.stages[stage].deadline_s
    taken = Run.objects.filter(pk=run_id, stage=stage, state=Run.State.QUEUED).update(
        state=Run.State.RUNNING,
        token=F("token") + 1,
        attempt=F("attempt") + 1,
        worker_id=worker_id,
        lease_until=Now() + timedelta(seconds=conf().lease_s),
        deadline_at=Now() + timedelta(seconds=deadline_s),
        started_at=Coalesce("started_at", Now()),
        requeues=0,
        waiting_reason="",
        next_attempt_at=None,
    )
    if not taken:
        yield None
        return
    claim = Claim(Run.objects.select_related("creator", "video").get(pk=run_id), stage, deadline_s)
    if claim.run.cancel_requested:
        claim.abort(RunCancelled())
    with _live_lock:
        _live.add(claim)
        if _handing_over.is_set():
            claim.abort(HandedOver())
    try:
        yield claim
    finally:
        with _live_lock:
            _live.discard(claim)


def live_claims() -> list[Claim]:
    """Return the claims of this process."""
    with _live_lock:
        return list(_live)


def stuck_threads() -> int:
    """Return how many threads of this process are kept by stages that do not end."""
    return sum(claim.is_stuck for claim in live_claims())


def hand_over() -> None:
    """Give the claims of this process, and those to come, to others at their next `check`."""
    with _live_lock:
        _handing_over.set()
        for claim in _live:
            claim.abort(HandedOver())


def keep() -> None:
    """Keep claims again: the worker has ended, what this process claims now is its own."""
    _handing_over.clear()


def renew(claims: Sequence[Claim]) -> None:
    """Extend the leases of this process's claims; end those that were lost or ran too long."""
    if not claims:
        return
    owned = Q()
    for claim in claims:
        owned |= Q(pk=claim.run.pk, token=claim.token)
    leased = Run.objects.filter(owned, state=Run.State.RUNNING)
    with transaction.atomic():
        # A run that a long transaction holds must not cost the others their leases.
        free = leased.select_for_update(skip_locked=True, no_key=True)
        ids = list(free.values_list("pk", flat=True))
        Run.objects.filter(pk__in=ids).update(lease_until=Now() + timedelta(seconds=conf().lease_s))
    rows = {
        (row["pk"], row["token"]): (row["cancel_requested"], row["late"])
        for row in leased.values("pk", "token", "cancel_requested", late=Q(deadline_at__lt=Now()))
    }
    for claim in claims:
        if (claim.run.pk, claim.token) not in rows:
            claim.abort(ClaimLost(f"run {claim.run.pk} has another owner"))
            continue
        if claim.is_stuck:
            claim.give_up()
            continue
        cancel_requested, late = rows[claim.run.pk, claim.token]
        if cancel_requested:
            claim.abort(RunCancelled())
        elif late:
            claim.abort(
                TimedOut(
                    f"The stage {claim.stage} took longer than {claim.deadline_s:.0f} s and was "
                    "ended. What it finished is kept: reprocess the video to go on from there."
                )
            )
