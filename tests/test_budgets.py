"""What a month may cost: who waits, who is warned; prices that change; what services counted."""

import html
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.test_commands import manage
from videos.durable import admission
from videos.durable.explanation import explain
from videos.durable.paid import budgets, prices
from videos.models import Budget, Call, Run, Worker
from videos.pipeline.estimate import usd_per_hour

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_cached():
    cache.clear()


@pytest.fixture(autouse=True)
def worker(transactional_db):
    return Worker.objects.create(pid=1, host="h", threads=8, last_seen=timezone.now())


def paid(creator, usd, ago=timedelta(0), **fields):
    call = Call.objects.create(
        creator=creator,
        service="transcription",
        model="whisper-1",
        state="answered",
        cost_usd=Decimal(str(usd)),
        **fields,
    )
    Call.objects.filter(pk=call.pk).update(sent_at=timezone.now() - ago)
    return call


def waiting(creator, **fields):
    return Run.objects.create(
        **{"function": "process_video", "stage": "transcribe", "creator": creator} | fields
    )


def reason(run):
    run.refresh_from_db()
    return run.waiting_reason if run.state == "waiting" else run.state


def test_what_pays_waits_once_its_creators_budget_is_spent(creator, django_user_model):
    Budget.objects.create(creator=creator, month_usd=5)
    paid(creator, "5.00")
    held, unpaid = waiting(creator), waiting(creator, function="make_proxy", stage="make_proxy")
    begun = waiting(creator, started_at=timezone.now())
    other = waiting(django_user_model.objects.create_user("bob"))

    admission.admit()

    assert [reason(run) for run in (held, unpaid, begun, other)] == [
        *("budget", "queued", "queued", "queued"),
    ]
    told = explain(held)
    assert "$5.00" in told.sentence
    assert told.until == budgets.month_ends(timezone.now())

    manage("budget", "--creator", creator.username, "--month", "6")

    assert reason(held) == "queued"


def test_the_sites_budget_holds_everybody_back(creator):
    Budget.objects.create(month_usd=1)
    paid(None, "0.50")
    paid(creator, "0.50")
    held = waiting(creator)

    admission.admit()

    assert reason(held) == "budget"

    manage("budget", "--site", "--remove")

    assert reason(held) == "queued"


def test_a_paused_run_says_so_even_without_a_budget(creator):
    Budget.objects.create(creator=creator, month_usd=0)
    held = waiting(creator)
    manage("pause", "--creator", creator.username)

    admission.admit()

    assert reason(held) == "paused"


def test_what_was_spent_is_counted_once_and_from_the_months_beginning(creator):
    now = timezone.now()
    into_month = now - budgets.month_begins(now)
    budget = Budget.objects.create(creator=creator, month_usd=10)
    paid(creator, 100, ago=into_month + timedelta(hours=1))
    paid(creator, 2, ago=into_month / 2)
    paid(creator, 1)
    Call.objects.create(creator=creator, service="embedding", model="m", cost_usd=7)

    for _ in range(2):
        (spent,) = budgets.all_spent()
        assert spent.usd == 3

    # A month that has ended does not count in the next.
    Budget.objects.filter(pk=budget.pk).update(
        counted_usd=99, counted_until=budgets.month_begins(now) - timedelta(days=1)
    )
    assert budgets.all_spent()[0].usd == 3


def test_a_hundred_budgets_cost_the_queries_of_one(django_user_model):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            budgets.all_spent()
        return len(captured)

    Budget.objects.create(month_usd=1)
    one = queries()
    users = django_user_model.objects.bulk_create(
        django_user_model(username=f"u{number}") for number in range(100)
    )
    Budget.objects.bulk_create(Budget(creator=user, month_usd=1) for user in users)

    assert queries() == one == 3


def test_the_control_room_warns_from_four_fifths_on(admin_client, creator):
    Budget.objects.create(creator=creator, month_usd=10)
    page = reverse("admin:index")
    paid(creator, "7.99")
    assert "near its end" not in admin_client.get(page).content.decode()

    paid(creator, "0.01")
    assert f"budget of {creator} is near its end" in admin_client.get(page).content.decode()

    paid(creator, "2.00")
    assert f"budget of {creator} is spent" in admin_client.get(page).content.decode()


def test_budgets_are_set_in_the_admin(admin_client, creator):
    admin_client.post(
        reverse("admin:videos_budget_add"), {"creator": creator.pk, "month_usd": "12.50"}
    )
    paid(creator, "3")
    cache.clear()

    page = admin_client.get(reverse("admin:videos_budget_changelist")).content.decode()

    assert "12.50" in page
    assert "$3.00 (24%)" in page


def test_the_command_tells_and_refuses(creator):
    manage("budget", "--creator", creator.username, "--month", "4")
    paid(creator, 1)

    (row,) = manage("budget", "--json")["budgets"]

    assert row == {
        "creator": creator.username,
        "month_usd": 4.0,
        "spent_usd": 1.0,
        "share": 0.25,
    }
    manage("budget", "--month", "4", code=2)
    manage("budget", "--site", "--month", "-1", code=2)
    manage("budget", "--site", "--month", "NaN", code=2)
    manage("budget", "--creator", "nobody", "--month", "4", code=1)


def test_a_price_holds_from_its_day_on(settings):
    settings.CHRONOS_PRICES = {
        "mine": [{"from": "2026-01-01", "minute": 1.0}, {"from": "2027-01-01", "minute": 2.0}]
    }
    given = settings.CHRONOS_PRICES["mine"]

    assert prices.in_force(given, date(2025, 12, 31)) == {}
    assert prices.in_force(given, date(2026, 1, 1)) == {"minute": 1.0}
    assert prices.in_force(given, date(2027, 6, 1)) == {"minute": 2.0}


def test_a_price_from_tomorrow_on_leaves_the_one_of_today(settings):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    settings.CHRONOS_PRICES = {"whisper-1": [{"from": f"{tomorrow}", "minute": 9.0}]}

    assert prices.cost_usd("whisper-1", audio_seconds=60) == Decimal("0.006")


def count(calls=1, seconds=0, tokens=0):
    return {"calls": calls, "seconds": seconds, "tokens": tokens}


@pytest.fixture
def reporting(openai, settings):
    settings.CHRONOS_ADMIN_API_KEY = openai.admin_key
    return openai


def test_the_ledger_is_compared_with_what_services_have_counted(reporting, creator):
    paid(creator, 1, ago=timedelta(days=2), audio_seconds=600)
    reporting.counted = {"audio_transcriptions": {"whisper-1": count(1, seconds=600)}}

    (row,) = manage("reconcile", "--json")["rows"]

    assert row["explained"]
    assert row["ledger"]["audio_seconds"] == row["reported"]["audio_seconds"] == 600

    # What was sent, and of which nobody knows the end, explains another.
    reporting.counted["audio_transcriptions"]["whisper-1"] = count(2, seconds=1_200)
    assert "UNEXPLAINED" in manage("reconcile", code=1)
    unknown = paid(creator, 0, ago=timedelta(days=2))
    Call.objects.filter(pk=unknown.pk).update(state="unknown")
    assert "1 + 1 unknown, reported 2" in manage("reconcile")


def test_what_is_counted_on_several_pages_is_added_up(reporting):
    reporting.counted = {"embeddings": {"m": count(3, tokens=30)}}
    reporting.counted_pages = 4

    (row,) = manage("reconcile", "--json", code=1)["rows"]

    assert row["reported"] == {"calls": 12, "audio_seconds": 0.0, "tokens": 120}


def test_without_a_key_of_the_administration_it_says_which(openai):
    manage("reconcile", code=1)
    assert "OPENAI_ADMIN_KEY" in manage.stderr


def test_a_refused_key_is_told_and_not_shown(reporting, settings):
    settings.CHRONOS_ADMIN_API_KEY = "sk-admin-wrong-0123456789"
    manage("reconcile", code=1)
    assert "sk-admin-wrong-0123456789" not in manage.stderr


@pytest.mark.parametrize(
    ("spent", "said"), [(1, None), (9, "90% of this month"), (10, "is processed when the next")]
)
def test_who_uploads_is_told_of_a_budget_near_its_end(client, creator, spent, said):
    Budget.objects.create(creator=creator, month_usd=10)
    Call.objects.create(
        creator=creator, service="embedding", model="m", state="answered", cost_usd=spent
    )
    client.force_login(creator)

    page = html.unescape(client.get(reverse("videos:upload")).content.decode())

    assert (said in page) if said else ("budget" not in page)


def test_an_hour_costs_what_the_models_cost(settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "whisper-1"  # $0.006 a minute
    settings.CHRONOS_EMBEDDING_MODEL = "text-embedding-3-small"  # $0.02 a million tokens

    assert usd_per_hour() == pytest.approx(0.36 + 60 * 150 * 4 / 3 * 4 * 0.02e-6, abs=1e-5)
