"""A paid call from its permission to its end: breaker, budget and ledger together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction

from videos import breaker, budget, ledger
from videos.claims import Claim
from videos.models import Call, Step


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


def answer(call: Call, *, used: bool, **measured: Any) -> None:
    """Book an answer, in the transaction that stores the step's result when it is `used`."""
    ledger.answer_call(call.pk, used=used, model=call.model, **measured)
    transaction.on_commit(partial(breaker.note, call.service, None), robust=True)


def fail(call: Call, error: Exception) -> Exception:
    """Book a call without a usable answer; return the error that counts for the run."""
    ledger.fail_call(call.pk, error)
    return breaker.note(call.service, error) or error
