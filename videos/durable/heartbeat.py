"""The heartbeat: renews this process's leases, and ends the stages that do not end themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import runs, set_aside
from videos.durable.claims import Claim, live_claims
from videos.durable.models import Run, SetAside
from videos.durable.transactions import is_lost
from videos.exceptions import ClaimLost, HandedOver, RunCancelled, TimedOut

#: Seconds after which a stage that was told to end, and did not, is taken for stuck.
_STUCK_S = 30.0
#: The tokens of stuck claims whose runs were ended in their place, and when to try others again.
_ended: dict[Claim, float] = {}
_NEVER = float("inf")


def is_stuck(claim: Claim) -> bool:
    """Whether a claim's stage was told to end a while ago, and does not look."""
    return claim.ended_by is not None and time.monotonic() - claim.ended_at > _STUCK_S


def stuck_threads() -> int:
    """Return how many threads of this process are kept by stages that do not end."""
    return sum(map(is_stuck, live_claims()))


def renew(claims: Sequence[Claim]) -> None:
    """Extend the leases of this process's claims; end those that were lost or ran too long."""
    for gone in _ended.keys() - set(claims):
        del _ended[gone]
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
        elif is_stuck(claim):
            _end_in_its_place(claim)
        else:
            _end_if_over(claim, *rows[claim.run.pk, claim.token])


def _end_if_over(claim: Claim, cancel_requested: bool, late: bool) -> None:
    if cancel_requested:
        claim.abort(RunCancelled())
    elif late:
        claim.abort(
            TimedOut(
                f"The stage {claim.stage} took longer than {claim.deadline_s:.0f} s and was "
                "ended. What it finished is kept: reprocess the video to go on from there."
            )
        )


def _end_in_its_place(claim: Claim) -> None:
    """End a run, once, in the place of a stage that does not look at its claim.

    Its thread stays busy with what it does, and is none that can take another run. If the end
    cannot be written, that costs no other claim its lease: it is tried again later.
    """
    if time.monotonic() < _ended.get(claim, 0.0):
        return
    try:
        # The heartbeat waits for nobody's lock: the stage itself may be the one who has it.
        with claim.guard(cancelling=True, skip=True) as run:
            if isinstance(claim.ended_by, TimedOut):
                runs.fail(run, TimedOut.code, str(claim.ended_by))
            elif isinstance(claim.ended_by, HandedOver):
                runs.hand_over(run)
            else:
                runs.cancel(run)
    except ClaimLost:
        return  # It has ended, another worker has it, or its row is locked just now.
    except Exception as error:
        if is_lost(error):
            raise
        _ended[claim] = time.monotonic() + _STUCK_S
        set_aside.record(SetAside.Kind.RUN, claim.run.pk, error)
        return
    _ended[claim] = _NEVER
