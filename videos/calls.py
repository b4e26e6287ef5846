"""A paid call from its permission to its end: breaker, budget and ledger together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import transaction

from videos import breaker, budget, ledger
from videos.claims import Claim
from videos.commits import after_commit
from videos.exceptions import ChronosError, ClaimLost, RunCancelled, Signal
from videos.models import Call, Run, Step

Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=BaseException)


@dataclass
class Settled:
    """An answer that is being stored; `used` unless whoever stores it finds it of no use."""

    run: Run
    used: bool = True


def book(
    claim: Claim, steps: Sequence[Step], service: str, model: str, tokens: Sequence[int]
) -> list[Call]:
    """Book the first of these steps' calls as sent: as many as may leave now, one at least.

    Raises:
        CircuitOpen, BudgetSpent: if none may leave now.
        OverBudget: if the first never may.
    """
    with claim.guard() as run:
        most = 1 if breaker.pass_call(service) else len(steps)
        count = budget.affordable(service, tokens[:most])
        return ledger.send_calls(run, steps[:count], service, model, tokens)


def perform(
    claim: Claim,
    step: Step,
    service: str,
    model: str,
    tokens: int,
    ask: Callable[..., Result],
    *args: Any,
    **kwargs: Any,
) -> tuple[Call, Result]:
    """Book a step's one call, make it by `ask`, and return it with its answer, to be settled.

    `ask` gets the arguments, the model and the `call_id`.

    Raises:
        ChronosError: if the call may not leave, or comes back without a usable answer.
    """
    (call,) = book(claim, [step], service, model, [tokens])
    try:
        return call, claim.await_call(ask, *args, model=model, call_id=call.pk, **kwargs)
    except (Exception, Signal) as error:
        raise fail(call, error) from None


def perform_query(
    service: str, model: str, tokens: int, ask: Callable[..., Result], *args: Any, **kwargs: Any
) -> tuple[Call, Result]:
    """Do what `perform` does for a call that belongs to no run, such as a search's.

    Raises:
        ChronosError: if the call may not leave, or comes back without a usable answer.
    """
    with transaction.atomic():
        breaker.pass_call(service)
        budget.affordable(service, [tokens])
        call = ledger.send_query(service, model, tokens)
    try:
        return call, ask(*args, model=model, call_id=call.pk, **kwargs)
    except Exception as error:
        raise fail(call, error) from None


@contextmanager
def settling(claim: Claim, call: Call, **measured: Any) -> Iterator[Settled]:
    """Open a transaction, which checks the claim, to store an answer in; book it in the same.

    Raises:
        ClaimLost, RunCancelled: as `Claim.guard`; the answer is then booked as paid, and unused.
    """
    try:
        with claim.guard() as run:
            settled = Settled(run)
            yield settled
            answer(call, used=settled.used, **measured)
    except (ClaimLost, RunCancelled):
        answer(call, used=False, **measured)
        raise


def answer(call: Call, *, used: bool, **measured: Any) -> None:
    """Book an answer, in the transaction that is open."""
    ledger.answer_call(call.pk, used=used, model=call.model, **measured)
    after_commit(breaker.note, call.service, None)


def fail(call: Call, error: Failure) -> Failure | ChronosError:
    """Book a call without a usable answer; return the error that counts for the run."""
    ledger.fail_call(call.pk, error)
    return breaker.note(call.service, error) or error
