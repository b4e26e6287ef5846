"""Usage and cost, summed from the ledger."""

import html
from datetime import UTC, date, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from videos import usage
from videos.durable.paid.ledger import cost_usd
from videos.models import Budget, Call, MonthlyUsage
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


def test_settled_days_of_a_month_are_read_once(creator, monkeypatch):
    monkeypatch.setattr(usage, "_WORTH_KEEPING", 4)
    given = {"service": "transcription", "state": "answered", "cost_usd": "0.5"}
    moments = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in range(1, 31)]
    for moment in moments:
        call(creator, moment, **given)
        call(creator, moment, **given)

    for now, kept_until in [
        (moments[1], []),
        (moments[9], [date(2026, 11, 9)]),
        (moments[10], [date(2026, 11, 9)]),
        (moments[19], [date(2026, 11, 19)]),
        (datetime(2026, 12, 1, 12, tzinfo=UTC), [date(2026, 11, 30)]),
        (datetime(2026, 12, 2, 12, tzinfo=UTC), [None]),
    ]:
        monkeypatch.setattr(timezone, "now", lambda now=now: now)
        (row,) = usage.summary()
        assert (row["month"], row["cost_usd"]) == ("2026-11", 30.0)
        kept = MonthlyUsage.objects.values_list("until", flat=True)
        assert list(kept) == kept_until
        for until in filter(None, kept):
            Call.objects.filter(usage.between(None, until)).delete()
        assert usage.summary() == usage.summary(creator) == [row]
        assert usage.summary(since=date(2026, 11, 1), until=date(2026, 12, 1)) == [row]
    usage.keep_month(date(2026, 11, 1))
    Call.objects.all().delete()
    assert usage.summary() == [row]


def test_nothing_is_kept_of_days_with_open_calls(creator, monkeypatch):
    monkeypatch.setattr(usage, "_WORTH_KEEPING", 1)
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 20, 12, tzinfo=UTC))
    for day in (1, 5, 9):
        state = "sent" if day == 5 else "answered"
        call(creator, datetime(2026, 11, day, tzinfo=UTC), service="embedding", state=state)

    assert usage.summary()[0]["embedding_calls"] == 2
    assert MonthlyUsage.objects.get().until == date(2026, 11, 5)
    Call.objects.filter(state="sent").update(state="unknown")
    (row,) = usage.summary()
    assert (row["embedding_calls"], row["unknown_calls"]) == (2, 1)
    assert MonthlyUsage.objects.get().until == date(2026, 11, 19)
    assert usage.summary() == [row]


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


@pytest.fixture
def spent(creator, django_user_model):
    """Calls of two creators, this month and the one before, and a search of nobody's."""
    now = datetime.now(UTC)
    before = now.replace(day=1) - timedelta(days=3)
    given = {"service": "transcription", "state": "answered", "audio_seconds": 3600.0}
    call(creator, now, **given, cost_usd="0.5")
    call(creator, before, **given, cost_usd="0.25")
    call(django_user_model.objects.create_user("=bob"), now, **given, cost_usd="0.125")
    Call.objects.create(service="embedding", state="answered", model="m", cost_usd="0.0625")
    Budget.objects.create(creator=creator, month_usd=7)
    return before


def test_the_costs_of_months_are_shown_by_creator(admin_client, spent):
    address = reverse("admin:videos_call_costs")
    page = html.unescape(admin_client.get(address).content.decode())

    assert ("$0.69" in page, "$0.5000" in page, "$7.00" in page) == (True, True, True)
    assert "searches of nobody" in page
    assert f"?month={spent:%Y-%m}" in page
    before = html.unescape(admin_client.get(f"{address}?month={spent:%Y-%m}").content.decode())
    assert f"{spent:%Y-%m}: $0.25" in before
    assert "$7.00" not in before
    rows = admin_client.get(f"{address}?csv").content.decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["creator", "ada", "'=bob", ""]


def test_costs_are_shown_to_who_may_see_calls(client, creator, spent):
    creator.is_staff = True
    creator.save()
    client.force_login(creator)
    assert client.get(reverse("admin:videos_call_costs")).status_code == 403


def test_who_operates_some_creators_sees_their_costs(admin_client, spent, settings):
    settings.CHRONOS_OPERATOR_POLICY = "tests.test_operator_scope.has_ada"

    page = admin_client.get(reverse("admin:videos_call_costs")).content.decode()

    assert "$0.50" in page
    assert "bob" not in page
    assert "searches of nobody" not in page
