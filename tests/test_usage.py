"""Usage and cost, summed from the ledger."""

from datetime import UTC, date, datetime

import pytest

from videos import usage
from videos.durable.paid.ledger import cost_usd
from videos.models import Call, MonthlyUsage
from videos.usage import summary

pytestmark = pytest.mark.django_db


def call(creator, when, **fields):
    row = Call.objects.create(
        creator=creator, creator_name=creator.get_username(), model="whisper-1", **fields
    )
    Call.objects.filter(pk=row.pk).update(sent_at=when)


def test_calls_are_summed_by_creator_and_month(creator, django_user_model):
    recognized = {"service": "transcription", "state": "answered", "audio_seconds": 60.0}
    call(creator, datetime(2026, 10, 31, 23, 59, tzinfo=UTC), **recognized, cost_usd="0.006")
    call(creator, datetime(2026, 11, 1, tzinfo=UTC), **recognized, cost_usd="0.006")
    call(creator, datetime(2026, 11, 2, tzinfo=UTC), service="embedding", state="unknown")
    call(creator, datetime(2026, 11, 3, tzinfo=UTC), service="embedding", state="failed")
    other = django_user_model.objects.create_user("bob")
    call(other, datetime(2026, 11, 2, tzinfo=UTC), service="embedding", state="answered", tokens=7)

    rows = summary(since=date(2026, 11, 1), until=date(2026, 12, 1))

    assert rows == [
        {
            "creator": "ada",
            "month": "2026-11",
            "audio_seconds": 60.0,
            "transcription_calls": 1,
            "embedding_tokens": 0,
            "embedding_calls": 0,
            "unknown_calls": 1,
            "failed_calls": 1,
            "cost_usd": 0.006,
        },
        {
            "creator": "bob",
            "month": "2026-11",
            "audio_seconds": 0.0,
            "transcription_calls": 0,
            "embedding_tokens": 7,
            "embedding_calls": 1,
            "unknown_calls": 0,
            "failed_calls": 0,
            "cost_usd": 0.0,
        },
    ]
    assert [row["month"] for row in summary(creator)] == ["2026-10", "2026-11"]


def test_usage_outlives_the_account(creator):
    call(creator, datetime(2026, 11, 2, tzinfo=UTC), service="embedding", state="answered")
    creator.delete()

    assert summary()[0]["creator"] == "ada"


def test_prices_are_those_published_or_set(settings):
    assert float(cost_usd("whisper-1", audio_seconds=90)) == 0.009
    assert float(cost_usd("text-embedding-3-small", tokens=500_000)) == 0.01
    assert cost_usd("chronos-local-stt", audio_seconds=90) == 0
    settings.CHRONOS_PRICES = {"my-model": {"minute": 1.0}}
    assert cost_usd("my-model", audio_seconds=30) == 0.5


def test_months_that_are_over_are_read_once(creator, monkeypatch):
    monkeypatch.setattr(usage, "_WORTH_KEEPING", 3)
    for month, count in ((1, 4), (2, 2), (3, 5)):
        calls = Call.objects.bulk_create(
            Call(
                creator=creator,
                creator_name="ada",
                service="transcription",
                model="whisper-1",
                state="answered",
                audio_seconds=1.5,
                cost_usd="0.00015",
            )
            for _ in range(count)
        )
        Call.objects.filter(pk__in=[call.pk for call in calls]).update(
            sent_at=datetime(2026, month, 15, tzinfo=UTC)
        )
    before = usage.summary()

    assert set(MonthlyUsage.objects.values_list("month", flat=True)) == {
        date(2026, 1, 1),
        date(2026, 3, 1),
    }
    assert usage.summary() == before
    assert usage.summary(creator) == before
    assert usage.summary(since=date(2026, 2, 1)) == before[1:]
    assert usage.summary(until=date(2026, 3, 16)) == before
    assert usage.summary(since=date(2026, 3, 15), until=date(2026, 3, 16)) == before[2:]
    assert usage.summary(since=date(2026, 3, 16)) == []
    Call.objects.filter(sent_at__month=1).delete()
    assert usage.summary()[0] == before[0]


def test_a_creator_who_was_renamed_has_one_row(creator, django_user_model):
    when = datetime(2026, 11, 2, tzinfo=UTC)
    call(creator, when, service="embedding", state="answered", tokens=7)
    creator.username = "countess"
    creator.save()
    other = django_user_model.objects.create_user("ada")
    call(creator, when, service="embedding", state="answered", tokens=5)
    call(other, when, service="embedding", state="answered", tokens=3)

    rows = {row["creator"]: row["embedding_tokens"] for row in summary()}

    assert rows == {"countess": 12, "ada": 3}
