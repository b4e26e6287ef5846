"""What was used and what it cost, by creator and month, from the ledger."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncMonth

from videos.models import Call

_UTC = ZoneInfo("UTC")


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
    calls = Call.objects.all()
    if creator is not None:
        calls = calls.filter(creator=creator)
    if since is not None:
        calls = calls.filter(sent_at__gte=datetime.combine(since, time(), _UTC))
    if until is not None:
        calls = calls.filter(sent_at__lt=datetime.combine(until, time(), _UTC))
    answered = Q(state=Call.State.ANSWERED)
    heard = answered & Q(service=Call.Service.TRANSCRIPTION)
    embedded = answered & Q(service=Call.Service.EMBEDDING)
    rows = (
        calls.values("creator_name", month=TruncMonth("sent_at", tzinfo=_UTC))
        .annotate(
            audio_seconds=Sum("audio_seconds", filter=heard, default=0.0),
            transcription_calls=Count("id", filter=heard),
            embedding_tokens=Sum("tokens", filter=embedded, default=0),
            embedding_calls=Count("id", filter=embedded),
            unknown_calls=Count("id", filter=Q(state=Call.State.UNKNOWN)),
            failed_calls=Count("id", filter=Q(state=Call.State.FAILED)),
            cost=Sum("cost_usd", filter=answered, default=0),
        )
        .order_by("creator_name", "month")
    )
    ordered = sorted(rows, key=lambda row: not row["creator_name"])
    return [
        UsageRow(
            creator=row["creator_name"],
            month=f"{row['month']:%Y-%m}",
            audio_seconds=round(row["audio_seconds"], 3),
            transcription_calls=row["transcription_calls"],
            embedding_tokens=row["embedding_tokens"],
            embedding_calls=row["embedding_calls"],
            unknown_calls=row["unknown_calls"],
            failed_calls=row["failed_calls"],
            cost_usd=float(row["cost"]),
        )
        for row in ordered
    ]
