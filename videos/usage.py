"""What was used and what it cost, by creator and month, from the ledger.

The sums of long times are kept (`MonthlyUsage`): of months that are over, and of the days of this
one that have settled. So a question about all times reads the ledger of some days, not of years.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.utils import timezone

from videos.durable import transactions
from videos.models import Call, MonthlyUsage

_UTC = ZoneInfo("UTC")
#: By then every call of a month has settled; the longest lasts a quarter of an hour.
SETTLED_AFTER = timedelta(days=1)
#: Calls from which on their sums are kept.
_WORTH_KEEPING = 10_000
_COUNTED = (
    *("audio_seconds", "transcription_calls", "embedding_tokens", "embedding_calls"),
    *("unknown_calls", "failed_calls", "cost_usd"),
)


class UsageRow(TypedDict):
    """One creator's month; calls are those answered, unless their name says otherwise."""

    creator: str
    month: str
    audio_seconds: float
    transcription_calls: int
    embedding_tokens: int
    embedding_calls: int
    unknown_calls: int
    failed_calls: int
    cost_usd: float


def summary(
    creator: Any = None, since: date | None = None, until: date | None = None
) -> list[UsageRow]:
    """Sum the ledger by creator and month (UTC), for one creator or all.

    `since` is inclusive, `until` exclusive. Cost sums answered calls only; calls whose outcome
    is unknown are counted beside it. Searches by operators are nobody's: their rows come last,
    with an empty creator.
    """
    if creator is None:
        _keep_settled_days()
    kept = _kept(since, until)
    calls = _calls(since, until, {(row.month, _end(row)) for row in kept})
    if creator is None:
        live = list(_summed(calls))
        _keep(live, kept, since, until)
    else:
        kept = [row for row in kept if row.creator_id == creator.pk]
        live = list(_summed(calls.filter(creator=creator)))
    rows = [*map(vars, kept), *live]
    names = _names({row["creator_id"] for row in rows})
    sums: dict[tuple[str, date], dict[str, Any]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        entry = sums[names.get(row["creator_id"], row["creator_name"]), row["month"]]
        for name in _COUNTED:
            entry[name] += Decimal(row[name])
    ordered = sorted(sums.items(), key=lambda item: (not item[0][0], item[0]))
    return [_row(name, month, entry) for (name, month), entry in ordered]


def _names(creators: set[Any]) -> dict[Any, str]:
    """Return what creators are called now; one that was deleted keeps the name of the time."""
    users = get_user_model()._default_manager.in_bulk(creators - {None})
    return {pk: user.get_username() for pk, user in users.items()}


def _row(name: str, month: date, sums: dict[str, Any]) -> UsageRow:
    return UsageRow(
        creator=name,
        month=f"{month:%Y-%m}",
        audio_seconds=round(float(sums["audio_seconds"]), 3),
        transcription_calls=int(sums["transcription_calls"]),
        embedding_tokens=int(sums["embedding_tokens"]),
        embedding_calls=int(sums["embedding_calls"]),
        unknown_calls=int(sums["unknown_calls"]),
        failed_calls=int(sums["failed_calls"]),
        cost_usd=float(sums["cost_usd"]),
    )


def _kept(since: date | None, until: date | None) -> list[MonthlyUsage]:
    """Return what is kept, as far as it lies in the time as a whole."""
    rows = MonthlyUsage.objects.all()
    if since is not None:
        rows = rows.filter(month__gte=since)
    if until is not None:
        rows = rows.filter(month__lt=until)
    return [row for row in rows if until is None or _end(row) <= until]


def _end(row: MonthlyUsage) -> date:
    """Return the day before which a row counts the calls of its month."""
    return row.until or _next_month(row.month)


def _calls(
    since: date | None, until: date | None, without: Iterable[tuple[date, date]]
) -> QuerySet[Call]:
    """Return the calls of a time, but for parts of it: each stretch by the index of time."""
    stretches = []
    begin = since
    for first, after in sorted(without):
        stretches.append((begin, first))
        begin = after
    wanted = Q(pk__in=[])
    for start, end in [*stretches, (begin, until)]:
        if start is None or end is None or start < end:
            wanted |= between(start, end)
    return Call.objects.filter(wanted)


def between(start: date | None, end: date | None) -> Q:
    """Return what tells the calls sent from a day on, and before another (UTC)."""
    limits = Q()
    if start is not None:
        limits &= Q(sent_at__gte=_midnight(start))
    if end is not None:
        limits &= Q(sent_at__lt=_midnight(end))
    return limits or ~Q(pk__in=[])


def _summed(calls: QuerySet[Call]) -> Iterable[dict[str, Any]]:
    answered = Q(state=Call.State.ANSWERED)
    recognized = answered & Q(service=Call.Service.TRANSCRIPTION)
    embedded = answered & Q(service=Call.Service.EMBEDDING)
    rows = calls.order_by().values(
        "creator_id", "creator_name", sent_in=TruncMonth("sent_at", tzinfo=_UTC)
    )
    for row in rows.annotate(
        audio_seconds=Sum("audio_seconds", filter=recognized, default=0.0),
        transcription_calls=Count("id", filter=recognized),
        embedding_tokens=Sum("tokens", filter=embedded, default=0),
        embedding_calls=Count("id", filter=embedded),
        unknown_calls=Count("id", filter=Q(state=Call.State.UNKNOWN)),
        failed_calls=Count("id", filter=Q(state=Call.State.FAILED)),
        cost=Sum("cost_usd", filter=answered, default=0),
        calls=Count("id"),
    ):
        yield row | {"month": row["sent_in"].date(), "cost_usd": row["cost"]}


def _keep_settled_days() -> None:
    """Keep the sums of this month's days that are over and settled, if those have many calls."""
    settled = (timezone.now().astimezone(UTC) - SETTLED_AFTER).date()
    month = settled.replace(day=1)
    begin = _kept_until(month)
    if begin is None or begin >= settled:
        return
    calls = Call.objects.filter(between(begin, settled))
    if calls.order_by("sent_at")[_WORTH_KEEPING - 1 :].exists():
        # A creator who was deleted just now: the next who asks keeps them without.
        with suppress(IntegrityError):
            _store(month, _summed(calls), begin, settled)


def _kept_until(month: date) -> date | None:
    """Return the first day of a month of which nothing is kept; None: there is none."""
    kept = MonthlyUsage.objects.filter(month=month).first()
    return kept.until if kept else month


def _keep(
    rows: list[dict[str, Any]],
    kept: list[MonthlyUsage],
    since: date | None,
    until: date | None,
) -> None:
    """Keep the sums of months that are over, lie in the time as a whole, and have many calls."""
    begun = {row.month: row.until for row in kept if row.until}
    by_month: dict[date, list[dict[str, Any]]] = {month: [] for month in begun}
    for row in rows:
        by_month.setdefault(row["month"], []).append(row)
    over = timezone.now() - SETTLED_AFTER
    for month, theirs in by_month.items():
        end = _next_month(month)
        is_whole = (since is None or since <= month) and (until is None or end <= until)
        many = month in begun or sum(row["calls"] for row in theirs) >= _WORTH_KEEPING
        if not (is_whole and many and _midnight(end) <= over):
            continue
        # As above.
        with suppress(IntegrityError):
            _store(month, theirs, begun.get(month, month))


def _store(
    month: date, rows: Iterable[dict[str, Any]], begin: date, until: date | None = None
) -> None:
    """Keep the sums of a month's calls from `begin` on, and before `until` or the month's end."""
    with transaction.atomic():
        # Of two that ask at once, the second finds them kept.
        transactions.hold(transactions.USAGE)
        if _kept_until(month) != begin:
            return
        MonthlyUsage.objects.filter(month=month).update(until=until)
        MonthlyUsage.objects.bulk_create(
            MonthlyUsage(
                creator_id=row["creator_id"],
                creator_name=row["creator_name"],
                month=month,
                until=until,
                **{name: row[name] for name in _COUNTED},
            )
            for row in rows
        )


def keep_month(month: date) -> None:
    """Keep the sums of a month, whose calls may then go; it has to be over, and settled."""
    begin = _kept_until(month)
    if begin is not None:
        _store(month, _summed(Call.objects.filter(between(begin, _next_month(month)))), begin)


def calls_of(month: date) -> QuerySet[Call]:
    """Return the calls of a month, named by its first day."""
    return Call.objects.filter(between(month, _next_month(month)))


def month_of(moment: datetime) -> date:
    """Return the first day of a moment's month, UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def end_of(month: date) -> datetime:
    """Return the moment at which the next month begins, UTC."""
    return _midnight(_next_month(month))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), _UTC)


def _next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)
