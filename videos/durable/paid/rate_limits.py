"""The limits of each service: requests and tokens in any 60 seconds, all processes together.

The ledger says what was sent, so that the limits hold exactly: a call is counted and booked in
one transaction, under a lock of its service.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Greatest, Now

from videos.conf import conf
from videos.durable import transactions
from videos.durable.paid.models import Call
from videos.exceptions import BudgetSpent, OverBudget

_WINDOW_S = 60.0


def affordable(service: str, tokens: Sequence[int]) -> int:
    """Return how many calls, of these tokens each, may be sent now: one at least.

    Call it in the transaction that books them.

    Raises:
        BudgetSpent: if there is no room for the first; says when there will be.
        OverBudget: if the first can never fit.
    """
    max_requests = _limit(service, "requests_per_minute")
    max_tokens = _limit(service, "tokens_per_minute")
    if not max_requests and not max_tokens:
        return len(tokens)
    if max_tokens and tokens[0] > max_tokens:
        raise OverBudget(
            f"One call needs about {tokens[0]} tokens, the limit of the {service} service is "
            f"{max_tokens} a minute ({_setting(service)}). Raise it, then reprocess the video."
        )
    recent = _recent(service)
    room_requests = max_requests - len(recent) if max_requests else len(tokens)
    room_tokens = max_tokens - sum(used for _, used in recent) if max_tokens else sum(tokens)
    count = _fitting(tokens[: max(room_requests, 0)], room_tokens)
    if count:
        return count
    lacking_tokens = tokens[0] - room_tokens if max_tokens else 0
    wait_s = _until_freed(recent, 1 - room_requests, lacking_tokens)
    raise BudgetSpent(
        f"The rate limit of the {service} service is used up for this minute.", retry_after_s=wait_s
    )


def _limit(service: str, of: str) -> int:
    """Return a limit: of the two AI services by a setting each, of others by CHRONOS_LIMITS."""
    own = conf().limits.get(service, {}).get(of, 0)
    limit: int = getattr(conf(), f"{service}_{of}", own)
    return limit


def _setting(service: str) -> str:
    if hasattr(conf(), f"{service}_tokens_per_minute"):
        return f"CHRONOS_{service.upper()}_TOKENS_PER_MINUTE"
    return f"tokens_per_minute of {service!r} in CHRONOS_LIMITS"


def _recent(service: str) -> list[tuple[float, int]]:
    """Return (seconds until it leaves the window, tokens) of each recent call, oldest first."""
    transactions.hold_text(f"calls of the {service} service")
    window = timedelta(seconds=_WINDOW_S)
    calls = Call.objects.filter(service=service, sent_at__gt=Now() - window).order_by("sent_at")
    leaves_in = ExpressionWrapper(F("sent_at") + window - Now(), DurationField())
    charged = Greatest("tokens", "reserved_tokens")
    rows = calls.annotate(leaves_in=leaves_in, charged=charged).values_list("leaves_in", "charged")
    return [(left.total_seconds(), count) for left, count in rows]


def _fitting(tokens: Sequence[int], room: int) -> int:
    for count, needed in enumerate(tokens):
        if needed > room:
            return count
        room -= needed
    return len(tokens)


def _until_freed(recent: Sequence[tuple[float, int]], requests: int, tokens: int) -> float:
    """Return the seconds until this many requests and tokens have left the window."""
    for leaves_in_s, used in recent:
        requests, tokens = requests - 1, tokens - used
        if requests <= 0 and tokens <= 0:
            return max(leaves_in_s, 0.0)
    return _WINDOW_S
