"""A paid call from its permission to its end: breaker, limits and ledger together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.db import connection, transaction

from videos.conf import conf
from videos.durable.claims import Claim, start_call
from videos.durable.models import Run, Step
from videos.durable.paid import breaker, ledger, rate_limits
from videos.durable.paid.models import Call
from videos.durable.steps import begin_planned
from videos.durable.transactions import DATABASE_ERRORS, after_commit, is_lost
from videos.exceptions import ChronosError, Overdue, Signal
from videos.text.storable import error_message

logger = logging.getLogger(__name__)

#: Seconds for which an answer is kept that the database does not take: longer than a restart of
#: Postgres, and than a lease without a heartbeat.
_SETTLE_WITHIN_S = 20.0
_SETTLE_PAUSE_S = 0.5


class Measured(Protocol):
    """An answer that says what it used."""

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of it: "tokens", "audio_seconds"."""


Result = TypeVar("Result")
Answer = TypeVar("Answer", bound=Measured, covariant=True)
Failure = TypeVar("Failure", bound=BaseException)


class Ask(Protocol[Answer]):
    """Makes a request, and returns its answer."""

    def __call__(self, *, model: str, call_id: UUID, within_s: float) -> Answer:
        """Ask `model`; the service may be told `call_id`, and has `within_s` seconds.

        Raises:
            ChronosError: ServiceFault or ConfigurationFault, saying what the service refused. Any
                other exception means that nobody knows whether the call was paid.
        """


@dataclass(frozen=True)
class PaidAnswer:
    """What a paid call of another app returned, and what it used."""

    #: Whatever JSON can hold.
    result: Any
    tokens: int = 0
    audio_seconds: float = 0.0

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of it."""
        return {"tokens": self.tokens, "audio_seconds": self.audio_seconds}


@dataclass(frozen=True)
class PaidCall(Generic[Answer]):
    """A request to a paid service that is to be made."""

    #: Up to 16 characters; breaker, limits and usage are those of the service.
    service: str
    model: str
    #: An estimate, for the limit of tokens.
    tokens: int
    ask: Ask[Answer]


@dataclass
class Settled:
    """An answer that is being stored; `used` unless whoever stores it finds it of no use."""

    run: Run
    used: bool = True


def book(
    claim: Claim, steps: Sequence[Step], service: str, model: str, tokens: Sequence[int]
) -> list[Call]:
    """Book the first of these steps' calls as sent: as many as may leave now, one at least.

    Planned steps begin with that; the others are left as they are.

    Raises:
        CircuitOpen, BudgetSpent: if none may leave now.
        OverBudget: if the first never may.
    """
    with claim.guard() as run:
        limit = 1 if breaker.acquire_call(service) else len(steps)
        count = rate_limits.affordable(service, tokens[:limit])
        begin_planned(run, steps[:count])
        return ledger.send_calls(run, steps[:count], service, model, tokens)


def make(claim: Claim, step: Step, paid: PaidCall[Answer]) -> tuple[Call, Answer]:
    """Book a step's one call, make it, and return it with its answer, to be settled.

    Raises:
        ChronosError: if the call may not leave, or comes back without a usable answer.
    """
    (call,) = book(claim, [step], paid.service, paid.model, [paid.tokens])
    within_s = conf().service_deadline_s
    try:
        return call, claim.await_call(
            within_s, paid.ask, model=paid.model, call_id=call.pk, within_s=within_s
        )
    except TimeoutError:
        raise fail(call, Overdue(paid.service)) from None
    except (Exception, Signal) as error:
        raise fail(call, error) from None


def make_query(paid: PaidCall[Answer], within_s: float, creator: Any = None) -> Answer:
    """Make a call that belongs to no run, such as a search's, and book it; return its answer.

    Nobody waits for it longer than `within_s` seconds, however the service answers. It is booked
    to `creator`, if it is somebody's.

    Raises:
        ChronosError: if the call may not leave, or comes back without a usable answer.
    """
    call = _in_own_transaction(_book_query, paid.service, paid.model, paid.tokens, creator)
    asked = start_call(paid.ask, model=paid.model, call_id=call.pk, within_s=within_s)
    try:
        answered = asked.result(within_s)
    except TimeoutError:
        raise _in_own_transaction(fail, call, Overdue(paid.service)) from None
    except Exception as error:
        raise _in_own_transaction(fail, call, error) from None
    _in_own_transaction(answer, call, used=False, **answered.measured)
    return answered


def _book_query(service: str, model: str, tokens: int, creator: Any) -> Call:
    with transaction.atomic():
        breaker.acquire_call(service)
        rate_limits.affordable(service, [tokens])
        return ledger.send_query(service, model, tokens, creator)


def _in_own_transaction(do: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Do something in a transaction of its own also where a request is one (ATOMIC_REQUESTS).

    Else the lock of the limits would be held for as long as the service takes, and a request that
    fails would take back what was paid.
    """
    if not connection.settings_dict["ATOMIC_REQUESTS"]:
        return do(*args, **kwargs)

    def in_own_connection() -> Result:
        try:
            return do(*args, **kwargs)
        finally:
            connection.close()

    return start_call(in_own_connection).result()


def settle(claim: Claim, call: Call, store: Callable[[Settled], object], **measured: Any) -> None:
    """Store an answer by `store`, in a transaction that checks the claim, and book it in the same.

    A database that is away is waited for as long as the claim may hold: the answer is paid, and
    nowhere but here. An answer that cannot be stored at all is booked as paid, and unused.

    Raises:
        ClaimLost, RunCancelled: as `Claim.guard`.
        Exception: whatever `store` raises.
    """
    until = time.monotonic() + _SETTLE_WITHIN_S
    while True:
        try:
            with claim.guard() as run:
                settled = Settled(run)
                store(settled)
                answer(call, used=settled.used, **measured)
            return
        except (Exception, Signal) as error:
            if not is_lost(error) or time.monotonic() > until:
                _book_unused(call, measured)
                raise
            logger.warning("An answer could not be stored, trying again: %s", error)
        connection.close()
        threading.Event().wait(_SETTLE_PAUSE_S)
        if _is_booked(call):
            return  # The transaction was committed, and only the word of it got lost.


@contextmanager
def booked_if_lost(call: Call, **measured: Any) -> Iterator[None]:
    """Book an answer as paid, and unused, if the block that prepares its storing raises."""
    try:
        yield
    except BaseException:
        _book_unused(call, measured)
        raise


def _is_booked(call: Call) -> bool:
    try:
        return Call.objects.filter(pk=call.pk, state=Call.State.ANSWERED).exists()
    except DATABASE_ERRORS:
        return False


def _book_unused(call: Call, measured: dict[str, Any]) -> None:
    try:
        answer(call, used=False, **measured)
    except DATABASE_ERRORS as error:
        logger.warning("Call %s was answered, and cannot be booked: %s", call.pk, error)
        connection.close()


def answer(call: Call, *, used: bool, **measured: Any) -> None:
    """Book an answer, in the transaction that is open."""
    had_failed = ledger.answer_call(call.pk, used=used, model=call.model, **measured)
    if had_failed:
        after_commit(breaker.record, call.service, None)


def fail(call: Call, error: Failure) -> Failure | ChronosError:
    """Book a call without a usable answer, which may have been paid; return the error that counts.

    What a service answers with success is paid, also where it is of no use.
    """
    if isinstance(error, ChronosError) and error.was_paid:
        ledger.answer_call(
            call.pk, used=False, model=call.model, error=error_message(error), **error.measured
        )
    else:
        ledger.fail_call(call.pk, error)
    return breaker.record(call.service, error) or error
