"""What a month's calls cost beside what they may: of a creator, and of the whole site.

The ledger says what was spent. Calls that were sent more than an hour ago have settled: their sum
is kept with the budget, so that a question about a month reads the last hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.core.cache import cache
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from videos.durable.paid.models import Budget, Call
from videos.durable.registry import registry

#: From this share on, people are warned.
NEAR = 0.8
#: The longest call lasts a quarter of an hour (CHRONOS_SERVICE_DEADLINE_S).
_SETTLED_AFTER = timedelta(hours=1)
#: Seconds for which a process takes what it has read for true.
_FRESH_S = 5
_KEY = "chronos:budgets"


def _cost(of_time: str) -> str:
    """Return the SQL of what a budget's answered calls of a time have cost."""
    total = f"""(
        SELECT sum(cost_usd) FROM {Call._meta.db_table} AS call
        WHERE state = 'answered' AND {of_time}"""
    return f"""coalesce(CASE WHEN budget.creator_id IS NULL THEN {total})
        ELSE {total} AND call.creator_id = budget.creator_id) END, 0)"""


#: Keeps the sum of what has settled since it was kept last, or since the month began.
_KEEP = f"""
    UPDATE {Budget._meta.db_table} AS budget
    SET counted_usd = CASE WHEN counted_until >= %(begins)s THEN counted_usd ELSE 0 END
            + {_cost("sent_at >= greatest(counted_until, %(begins)s) AND sent_at < %(settled)s")},
        counted_until = %(settled)s
    WHERE counted_until IS NULL OR counted_until < %(settled)s - interval '10 minutes'
        OR counted_until < %(begins)s
    """
_SPENT = f"""
    SELECT id, counted_usd + {_cost("sent_at >= counted_until")}
    FROM {Budget._meta.db_table} AS budget
    """


@dataclass(frozen=True)
class Spent:
    """A budget, and what this month's answered calls have cost, in USD."""

    budget: Budget
    usd: Decimal

    @property
    def share(self) -> float:
        """How much of it is spent; 1.0 is all."""
        return float(self.usd / self.budget.month_usd) if self.budget.month_usd else 1.0

    @property
    def is_near(self) -> bool:
        """Whether people are to be warned that it ends soon, or has ended."""
        return self.share >= NEAR

    @property
    def is_over(self) -> bool:
        """Whether nothing more may start."""
        return self.share >= 1.0


def all_spent() -> list[Spent]:
    """Return every budget with what was spent of it, those of creators first; three queries."""
    now = timezone.now()
    begins = month_begins(now)
    settled = max(now - _SETTLED_AFTER, begins)
    with connection.cursor() as cursor:
        # Of two that count at once, the second finds it counted, and changes nothing.
        cursor.execute(_KEEP, {"begins": begins, "settled": settled})
        cursor.execute(_SPENT)
        usd: dict[int, Decimal] = dict(cursor.fetchall())
    rows = Budget.objects.select_related("creator").filter(pk__in=usd).order_by("creator_id")
    return [Spent(budget, usd[budget.pk]) for budget in rows]


def condition() -> Q | None:
    """Return what tells the runs that a spent budget keeps from starting; None: there are none.

    A run that has started is not among them: it goes on to its end.
    """
    over = [spent.budget for spent in recent() if spent.is_over]
    if not over:
        return None
    held = Q(started_at__isnull=True, function__in=registry.that_pay())
    if any(budget.creator_id is None for budget in over):
        return held
    return held & Q(creator__in=[budget.creator_id for budget in over])


def of(creator_id: object) -> Spent | None:
    """Return the budget that ends first of those a creator's runs are held to; None: none is."""
    theirs = [spent for spent in all_spent() if spent.budget.creator_id in (creator_id, None)]
    return max(theirs, key=lambda spent: spent.share, default=None)


def changed() -> None:
    """Have this process read the budgets once more; others do within seconds."""
    cache.delete(_KEY)


def month_begins(now: datetime) -> datetime:
    """Return the moment at which a moment's month began, UTC."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_ends(now: datetime) -> datetime:
    """Return the moment at which a moment's month ends, UTC."""
    return month_begins(month_begins(now) + timedelta(days=32))


def recent() -> list[Spent]:
    """Return what `all_spent` said within the last seconds."""
    found: list[Spent] | None = cache.get(_KEY)
    if found is None:
        found = all_spent()
        cache.set(_KEY, found, _FRESH_S)
    return found
