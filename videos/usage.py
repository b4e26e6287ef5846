"""What was used and what it cost, by creator and month, from the ledger.

The sums of long times are kept (`MonthlyUsage`): of months that are over, and of the days of this
one that have settled. So a question about all times reads the ledger of some days, not of years.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.utils import timezone

from videos.durable import transactions
from videos.models import Call, MonthlyUsage

_UTC = ZoneInfo("UTC")
#: By then a call has settled; the longest lasts a quarter of an hour.
_SETTLED_AFTER = timedelta(days=1)
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
    kept = _kept(since, until)
    settled = _settled_before() if creator is None else date.min
    if _keep_settled_days(kept, settled):
        kept = _kept(since, until)
    calls = _calls(since, until, {(row.month, _end(row)) for row in kept})
    if creator is None:
        live = list(_summed(calls))
        _keep_months(live, kept, settled, since, until)
    else:
        kept = [row for row in kept if row.creator_id == creator.pk]
        live = list(_summed(calls.filter(creator=creator)))
    rows = [*map(vars, kept), *live]
    names = _names({row["creator_id"] for row in rows})
    sums = _added_up(
        rows,
        lambda row: (names.get(row["creator_id"], row["creator_name"]), row["month"]),
    )
    ordered = sorted(sums.items(), key=lambda item: (not item[0][0], item[0]))
    return [_row(name, month, entry) for (name, month), entry in ordered]


def _added_up(
    rows: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], Any]
) -> dict[Any, dict[str, Any]]:
    """Return the sums of what rows count, by their keys."""
    sums: dict[Any, dict[str, Any]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        entry = sums[key(row)]
        for name in _COUNTED:
            entry[name] += Decimal(row[name])
    return sums


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


def _settled_before() -> date:
    """Return the day before which every call has settled."""
    day = (timezone.now() - _SETTLED_AFTER).astimezone(UTC).date()
    # One whose worker is gone stays open until another sweeps.
    oldest = Call.objects.filter(state=Call.State.SENT).aggregate(Min("sent_at"))["sent_at__min"]
    return min(day, oldest.astimezone(UTC).date()) if oldest else day


def _keep_settled_days(kept: list[MonthlyUsage], settled: date) -> bool:
    """Keep the sums of this month's days that have settled, if those have many calls; tell so."""
    month = settled.replace(day=1)
    begin = max((_end(row) for row in kept if row.month == month), default=month)
    if begin >= settled:
        return False
    calls = Call.objects.filter(between(begin, settled))
    is_long = calls.order_by("sent_at")[_WORTH_KEEPING - 1 :].exists()
    if is_long:
        _keep_if_possible(month, settled)
    return is_long


def _keep_months(
    rows: list[dict[str, Any]],
    kept: list[MonthlyUsage],
    settled: date,
    since: date | None,
    until: date | None,
) -> None:
    """Keep the sums of months that have settled, lie in the time as a whole, and have many calls.

    `rows` are what is not kept yet.
    """
    calls = Counter({row.month: _WORTH_KEEPING for row in kept if row.until})
    for row in rows:
        calls[row["month"]] += row["calls"]
    for month, count in calls.items():
        end = _next_month(month)
        is_whole = (since is None or since <= month) and (until is None or end <= until)
        if is_whole and count >= _WORTH_KEEPING and end <= settled:
            _keep_if_possible(month, end)


def _keep_if_possible(month: date, end: date) -> None:
    # A creator who was deleted just now: the next who asks keeps it without.
    with suppress(IntegrityError):
        _keep(month, end)


def _first_not_kept(month: date) -> date | None:
    """Return the first day of a month of which no sums are kept; None: there is none."""
    kept = MonthlyUsage.objects.filter(month=month).first()
    return kept.until if kept else month


def _keep(month: date, end: date) -> None:
    """Keep the sums of a month's calls before a day, a row for each creator."""
    with transaction.atomic():
        # Of two that ask at once, the second finds them kept.
        transactions.hold(transactions.USAGE)
        begin = _first_not_kept(month)
        if begin is None or begin >= end:
            return
        kept = MonthlyUsage.objects.filter(month=month)
        rows = [*map(vars, kept), *_summed(Call.objects.filter(between(begin, end)))]
        sums = _added_up(rows, itemgetter("creator_id", "creator_name"))
        kept.delete()
        MonthlyUsage.objects.bulk_create(
            MonthlyUsage(
                creator_id=creator_id,
                creator_name=creator_name,
                month=month,
                until=None if end == _next_month(month) else end,
                **entry,
            )
            for (creator_id, creator_name), entry in sums.items()
        )


def keep_month(month: date) -> None:
    """Keep the sums of a month, whose calls may then go; it has to be over, and settled."""
    _keep(month, _next_month(month))


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
