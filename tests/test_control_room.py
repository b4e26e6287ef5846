"""The control room: what needs a person, why a run waits, when its steps worked; who sees it."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.rows import completed_video
from videos.admin.shown import when
from videos.durable.explanation import explain
from videos.models import Breaker, Call, Run, SetAside, Step, Worker

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _nothing_cached():
    cache.clear()


@pytest.fixture
def worker():
    return Worker.objects.create(
        pid=7, host="alpha", queues=["default", "bulk"], threads=4, last_seen=timezone.now()
    )


def ended_run(creator, **fields):
    now = timezone.now()
    return Run.objects.create(
        **{
            "function": "process_video",
            "stage": "embed",
            "creator": creator,
            "state": "completed",
            "started_at": now,
            "finished_at": now,
        }
        | fields
    )


def room(client, page="admin:videos_run_overview"):
    answer = client.get(reverse(page))
    assert answer.status_code == 200
    return answer.content.decode()


def troubles(client):
    return re.findall(r"<li><strong>(.*?)</strong>", room(client))


def test_failures_lead_to_where_they_are_retried(admin_client, creator, worker):
    ended_run(creator, state="failed", error_code="internal", error="No stamps.")
    ended_run(
        creator,
        state="failed",
        error_code="rejected",
        error="Refused.",
        video=completed_video(creator),
    )

    page = room(admin_client).replace("&amp;", "&")

    assert (
        f"{reverse('admin:videos_run_changelist')}?error_code=internal&state__exact=failed" in page
    )
    assert (
        f"{reverse('admin:videos_video_changelist')}?error_code=rejected&status__exact=failed"
        in page
    )


def test_where_all_is_well_it_says_so(admin_client, creator, worker):
    ended_run(creator)

    page = room(admin_client)

    assert "All is well" in page
    assert "1 completed, at most 1 a minute" in page
    assert "0 of 4 threads busy" in page


def test_what_needs_a_person_comes_first(admin_client, creator, worker):
    Worker.objects.create(
        pid=8, host="beta", threads=4, last_seen=timezone.now() - timedelta(minutes=5)
    )
    Worker.objects.filter(pk=worker.pk).update(stuck_threads=1)
    Breaker.objects.create(service="embedding", failures=5, last_error=HOSTILE)
    SetAside.objects.create(
        kind="run", item_id=worker.pk, error="?", next_attempt_at=timezone.now()
    )
    Run.objects.create(function="f", stage="run", queue="default", state="waiting")
    Run.objects.update(created_at=timezone.now() - timedelta(hours=1))
    Run.objects.create(function="f", stage="run", queue="letters", state="waiting")
    for _ in range(3):
        ended_run(creator, state="failed", error_code="no_audio", error=HOSTILE)
    ended_run(
        creator,
        state="failed",
        error_code="internal",
        finished_at=timezone.now() - timedelta(hours=2),
    )

    found = troubles(admin_client)

    assert found[0].startswith("1 thread(s) of the worker 7 on alpha are stuck")
    assert found[1].startswith("The worker 8 on beta is silent since")
    assert found[2:] == [
        "No live worker serves the queue letters.",
        "The embedding service failed 5 time(s) in a row.",
        "3 run(s) failed in the last hour: no_audio.",
        "1 event(s) or run(s) were set aside.",
        "A run on the queue default waits for 60 minutes.",
    ]
    page = room(admin_client)
    assert HOSTILE not in page
    assert "7 things need a person" in page


def test_without_workers_that_is_the_first_thing_said(admin_client):
    assert troubles(admin_client) == ["No worker is alive."]


def test_searches_by_another_model_than_the_configured_are_told(
    admin_client, creator, worker, settings
):
    completed_video(creator)
    settings.CHRONOS_EMBEDDING_MODEL = "other-embed"

    assert "text-embedding-3-small serves searches" in " ".join(troubles(admin_client))


def test_it_costs_the_same_whatever_there_is(admin_client, creator, worker):
    completed_video(creator)
    ended_run(creator, state="failed", error_code="internal")

    def cost():
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            room(admin_client)
        return len(queries)

    before = cost()
    for number in range(30):
        completed_video(creator)
        ended_run(creator, state="failed", error_code=f"code{number % 7}")
        Run.objects.create(function="f", stage="run", queue=f"queue{number}")

    assert cost() == before <= 20


@pytest.mark.parametrize("page", ["admin:index", "admin:app_list"])
def test_the_admins_index_shows_it(admin_client, worker, page):
    address = reverse(page, args=["videos"] if page == "admin:app_list" else [])

    shown = admin_client.get(address).content.decode()

    assert shown.count('id="control-room"') == 1
    assert shown.count("videos/control_room.js") == 1


def test_only_who_may_see_runs_sees_it(client, creator, worker):
    creator.is_staff = True
    creator.save()
    client.force_login(creator)

    assert client.get(reverse("admin:videos_run_overview")).status_code == 403
    assert 'id="control-room"' not in client.get(reverse("admin:index")).content.decode()

    creator.user_permissions.add(Permission.objects.get(codename="view_run"))

    assert 'id="control-room"' in room(client)


def test_who_is_not_staff_is_sent_to_sign_in(client, creator):
    client.force_login(creator)

    assert client.get(reverse("admin:videos_run_overview")).status_code == 302


# --- A run's page -----------------------------------------------------------------------


def test_a_runs_page_draws_its_steps_and_their_calls(admin_client, creator):
    video = completed_video(creator)
    run = video.runs.get()
    begin = timezone.now() - timedelta(minutes=1)
    Run.objects.filter(pk=run.pk).update(
        created_at=begin,
        started_at=begin + timedelta(seconds=6),
        finished_at=begin + timedelta(seconds=60),
    )
    Step.objects.filter(run=run).update(
        started_at=begin + timedelta(seconds=30),
        finished_at=begin + timedelta(seconds=60),
        error=HOSTILE,
    )
    Call.objects.filter(run_id=run.pk).update(
        sent_at=begin + timedelta(seconds=30), settled_at=begin + timedelta(seconds=33)
    )

    page = admin_client.get(reverse("admin:videos_run_change", args=[run.pk])).content.decode()

    bars = re.findall(r'<rect class="([\w ]+)" x="([\d.]+)" width="([\d.]+)"', page)
    assert bars == [
        ("waiting", "0.0", "100.0"),
        ("completed", "100.0", "900.0"),
        ("done", "500.0", "500.0"),
        ("call answered", "500.0", "50.0"),
    ]
    assert "embed: chunks 0-0" in page
    assert HOSTILE not in page


def test_a_run_of_many_steps_costs_as_many_queries_as_one_of_few(admin_client, creator):
    def cost(count):
        run = ended_run(creator)
        Step.objects.bulk_create(
            Step(run=run, stage="run", key=f"{n}", started_at=timezone.now()) for n in range(count)
        )
        address = reverse("admin:videos_run_change", args=[run.pk])
        admin_client.get(address)
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(address).content.decode()
        assert ("more steps than are drawn" in page) == (count > 200)
        return len(queries)

    assert cost(1) == cost(300)


def waiting(creator, reason, **fields):
    return Run.objects.create(
        function="process_video",
        stage="transcribe",
        creator=creator,
        **{"state": "waiting", "waiting_reason": reason, **fields},
    )


def test_a_run_that_waits_for_its_creators_limit_names_who_has_it(admin_client, creator, worker):
    holder = ended_run(creator, state="waiting", holds_slot=True)
    run = waiting(creator, "concurrency")

    explanation = explain(run)

    assert "At most 10 runs of ada" in explanation.sentence
    assert explanation.holders == [holder]
    page = admin_client.get(reverse("admin:videos_run_change", args=[run.pk])).content.decode()
    assert reverse("admin:videos_run_change", args=[holder.pk]) in page


@pytest.mark.parametrize(
    ("reason", "fields", "said"),
    [
        ("concurrency", {"queue": "bulk"}, "CHRONOS_BULK_CONCURRENCY"),
        ("rate", {}, "CHRONOS_CREATOR_STARTS_PER_MINUTE"),
        ("capacity", {"queue": "bulk"}, "The 4 thread(s) of the 1 worker(s)"),
        ("", {}, "The 4 thread(s) of the 1 worker(s)"),
        ("worker", {"queue": "letters"}, "served are bulk, default"),
        ("service", {"waits_behind": "embedding"}, "failed 5 time(s) in a row"),
        ("service", {}, "asked to be called later"),
        ("budget", {}, "CHRONOS_LIMITS"),
        ("disk", {}, "make room"),
        ("paused", {}, "about to start"),
        ("paused", {"holds_slot": True, "error": "The same file is."}, "The same file is."),
    ],
)
def test_every_reason_to_wait_is_explained(creator, worker, reason, fields, said):
    Breaker.objects.create(service="embedding", failures=5, last_error="HTTP 503")
    other = waiting(creator, reason, **fields)
    Run.objects.filter(pk=other.pk).update(created_at=timezone.now() - timedelta(hours=1))

    run = waiting(creator, reason, **fields)

    assert said in explain(run).sentence
    if reason in ("concurrency", "rate", "capacity", ""):
        assert "1 were there before it" in explain(run).sentence


def test_a_retry_is_explained_by_its_step_and_what_works_needs_no_explanation(creator):
    run = waiting(creator, "", state="retrying", next_attempt_at=timezone.now())
    Step.objects.create(run=run, stage="embed", key="b", state="retrying", failures=2, error="503")

    assert explain(run).sentence == "It is tried again. b failed 2 time(s): 503"
    assert explain(run).until == run.next_attempt_at
    assert "one of them takes it" in explain(waiting(creator, "", state="queued")).sentence
    assert explain(ended_run(creator)) is None


def test_what_was_tried_again_needs_nobody_any_more(admin_client, creator, worker):
    video = completed_video(creator)
    Run.objects.all().delete()
    failed = {"function": "process_video", "stage": "transcribe", "video": video, "state": "failed"}
    run = Run.objects.create(
        **failed, error_code="unauthorized", error="No.", finished_at=timezone.now()
    )
    address = reverse("admin:videos_run_overview")
    assert (
        "1 video(s) failed in the last hour: unauthorized"
        in admin_client.get(address).content.decode()
    )

    Run.objects.create(function="process_video", stage="transcribe", video=video)

    page = admin_client.get(address).content.decode()
    assert "unauthorized" not in page
    assert "1 failed, at most 1 a minute" in page, "it is still counted"
    assert run.state == "failed"


@pytest.mark.parametrize(
    ("ahead", "shown"),
    [(timedelta(), "%H:%M:%S"), (timedelta(days=3), "%Y-%m-%d %H:%M")],
)
def test_a_time_of_another_day_is_shown_with_its_day(ahead, shown):
    moment = timezone.now() + ahead

    assert when(moment) == timezone.localtime(moment).strftime(shown)


def test_a_run_under_way_is_drawn_afresh(admin_client, creator):
    completed_video(creator)
    run = Run.objects.get()
    address = reverse("admin:videos_run_change", args=[run.pk])
    assert "data-fresh" not in admin_client.get(address).content.decode()

    Run.objects.filter(pk=run.pk).update(state="running", lease_until=timezone.now())

    assert f'data-live="run" data-fresh="{address}"' in admin_client.get(address).content.decode()
