"""What operators hold back: it waits as `paused`, keeps its place, and starts when it may."""

import html
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from tests.conftest import ended, eventually
from tests.test_commands import manage
from videos.durable import admission, pauses, priorities
from videos.durable.explanation import explain
from videos.durable.paid import breaker
from videos.exceptions import ServicePaused
from videos.models import Pause, Run, Video, Worker
from videos.search import search

pytestmark = pytest.mark.django_db(transaction=True)

Kind = Pause.Kind


@pytest.fixture(autouse=True)
def _worker():
    Worker.objects.create(pid=1, host="h", threads=8, last_seen=timezone.now())


def waiting(creator, **fields):
    return Run.objects.create(
        **{"function": "process_video", "stage": "transcribe", "creator": creator} | fields
    )


def reason(run):
    run.refresh_from_db()
    return run.waiting_reason if run.state == "waiting" else run.state


TARGETS = {
    "all": {"kind": Kind.ALL},
    "queue": {"kind": Kind.QUEUE, "name": "bulk"},
    "function": {"kind": Kind.FUNCTION, "name": "make_proxy"},
    "creator": {"kind": Kind.CREATOR},
}


@pytest.mark.parametrize("kind", TARGETS)
def test_what_is_paused_waits_and_all_else_goes_on(creator, django_user_model, kind):
    bob = django_user_model.objects.create_user("bob")
    target = TARGETS[kind] | ({"creator": creator} if kind == "creator" else {})
    pauses.begin(**target)
    held = waiting(creator, queue="bulk", function="make_proxy", priority=priorities.URGENT)
    free = waiting(bob)

    admission.admit()

    assert reason(held) == "paused"
    assert reason(free) == ("paused" if kind == "all" else "queued")
    assert held.waiting_for["reason"] == "paused"

    Pause.objects.all().delete()
    admission.admit()

    assert (reason(held), reason(free)) == ("queued", "queued")


def test_what_has_started_goes_on(creator):
    started = waiting(creator, holds_slot=True, next_attempt_at=timezone.now())
    pauses.begin(Kind.ALL)

    admission.admit()

    assert reason(started) != "paused"


def test_a_pause_ends_by_itself(creator):
    run = waiting(creator)
    pauses.begin(Kind.ALL, until=timezone.now() + timedelta(hours=1))
    admission.admit()
    assert reason(run) == "paused"

    Pause.objects.update(until=timezone.now() - timedelta(seconds=1))
    admission.admit()

    assert reason(run) == "queued"
    assert pauses.condition() is None


def test_a_pause_is_explained(creator):
    run = waiting(creator)
    until = timezone.now() + timedelta(hours=1)
    pauses.begin(Kind.CREATOR, creator=creator, by="eve", why="her wish", until=until)
    pauses.begin(Kind.QUEUE, "bulk")
    admission.admit()
    run.refresh_from_db()

    explanation = explain(run)

    assert explanation.sentence.startswith("Starts of creator ada are paused by eve since")
    assert ": her wish." in explanation.sentence
    assert explanation.until == until
    (listed,) = pauses.with_ends(Run.objects.filter(pk=run.pk))
    assert listed.waiting_for == {"reason": "paused", "until": until.isoformat()}
    pauses.begin(Kind.ALL)
    (listed,) = pauses.with_ends(Run.objects.filter(pk=run.pk))
    assert listed.waiting_for == {"reason": "paused", "until": None}
    Pause.objects.get(kind=Kind.ALL).delete()
    assert pauses.of(waiting(None, queue="bulk")).name == "bulk"


def test_what_holds_longest_is_named_first(creator):
    pauses.begin(Kind.ALL, until=timezone.now() + timedelta(hours=1))
    pauses.begin(Kind.CREATOR, creator=creator)
    run = waiting(creator)

    assert pauses.of(run).kind == "creator"


def test_calls_of_a_paused_service_wait_and_go_on_at_once(upload, worker, openai):
    pauses.begin(Kind.SERVICE, "embedding", why="too dear today")
    video = upload()

    run = eventually(Run.objects.filter(state="waiting", waiting_reason="paused").first)

    assert openai.embedded() == []
    assert video.runs.get() == run, "what is before the call was done"
    said = explain(run).sentence
    assert said.startswith("Calls of the embedding service are paused since")
    assert "too dear today" in said
    assert search("one two", Video.objects.all()) == []

    pauses.end(Pause.objects.all())

    assert ended(video).status == "completed"
    assert openai.embedded()


def test_a_service_that_is_paused_until_then_is_called_then():
    pauses.begin(Kind.SERVICE, "chat", until=timezone.now() + timedelta(seconds=5))

    with pytest.raises(ServicePaused) as refused:
        breaker.acquire_call("chat")
    assert 0 < refused.value.retry_after_s <= 5
    assert not breaker.acquire_call("embedding")

    Pause.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert not breaker.acquire_call("chat")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "all", "name": "bulk"},
        {"kind": "service"},
        {"kind": "queue"},
        {"kind": "creator"},
        {"kind": "creator", "name": "ada"},
    ],
)
def test_a_pause_is_of_one_thing(wrong):
    with pytest.raises(IntegrityError), transaction.atomic():
        Pause.objects.create(**wrong)


# --- By command and in the admin --------------------------------------------------------


def test_commands_pause_and_resume(creator):
    run = waiting(creator)

    (paused,) = manage("pause", "--creator", "ada", "--why", "her wish", "--json")["pauses"]

    assert (paused["kind"], paused["name"], paused["why"]) == ("creator", "ada", "her wish")
    assert paused["by"]
    assert reason(run) == "paused"
    assert "creator ada" in manage("pause", "--creator", "ada", "--until", "2999-01-01T08:00")
    assert Pause.objects.get().until.year in (2998, 2999)

    assert manage("resume", "--queue", "bulk", "--json") == {"resumed": [], "started": 0}
    document = manage("resume", "--creator", "ada", "--json")

    assert ([each["name"] for each in document["resumed"]], document["started"]) == (["ada"], 1)
    assert reason(run) == "queued"


def test_resume_all_ends_every_pause():
    manage("pause", "--all", "--queue", "bulk", "--function", "process_video", "--service", "chat")
    assert Pause.objects.count() == 4

    assert len(manage("resume", "--all", "--json")["resumed"]) == 4
    assert manage("resume", "--all") == "Nothing was paused.\n"


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--queue", "no such"],
        ["--function", "no such"],
        ["--service", "no such"],
        ["--all", "--until", "tomorrow"],
        ["--all", "--until", "2020-13-45"],
        ["--all", "--until", "2020-01-01T00:00"],
    ],
)
def test_wrong_usage_pauses_nothing(wrong):
    manage("pause", *wrong, code=2)

    assert not Pause.objects.exists()


def test_an_unknown_creator_cannot_be_paused():
    manage("pause", "--creator", "nobody", code=1)


def test_the_admin_pauses_and_resumes(admin_client, creator):
    run = waiting(creator)
    add = reverse("admin:videos_pause_add")

    answer = admin_client.post(add, {"kind": "creator", "creator": creator.pk, "why": "<b>"})

    assert answer.status_code == 302
    pause = Pause.objects.get()
    assert (pause.by, pause.creator) == ("admin", creator)
    assert reason(run) == "paused"
    room = admin_client.get(reverse("admin:videos_run_overview")).content.decode()
    assert "Paused: creator ada." in room
    assert "<b>" not in room

    address = reverse("admin:videos_pause_delete", args=[pause.pk])
    admin_client.post(address, {"post": "yes"})

    assert reason(run) == "queued"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "queue", "name": "no such"},
        {"kind": "all", "name": "bulk"},
        {"kind": "creator"},
        {"kind": "function"},
    ],
)
def test_the_admin_refuses_what_is_of_nothing(admin_client, wrong):
    page = admin_client.post(reverse("admin:videos_pause_add"), wrong).content.decode()

    assert "errorlist" in page
    assert not Pause.objects.exists()


def test_many_are_resumed_at_once(admin_client, creator):
    pauses.begin(Kind.ALL)
    pauses.begin(Kind.QUEUE, "bulk")
    run = waiting(creator)
    ids = list(Pause.objects.values_list("pk", flat=True))

    admin_client.post(
        reverse("admin:videos_pause_changelist"),
        {"action": "delete_selected", "_selected_action": ids},
    )

    assert reason(run) == "queued"


def test_the_form_offers_what_can_be_paused_there(admin_client, worker):
    page = html.unescape(admin_client.get(reverse("admin:videos_pause_add")).content.decode())

    assert 'value="worker"' not in page
    assert "queue: bulk, default" in page


def test_a_paused_worker_is_named_as_people_see_it(admin_client, worker):
    row = eventually(Worker.objects.first)
    pauses.begin(Kind.WORKER, str(row.pk))

    page = admin_client.get(reverse("admin:videos_run_overview")).content.decode()

    assert f"Paused: worker {row}." in page
    assert "<td>paused</td>" in page


def test_an_empty_form_of_the_admin_pauses_nothing(admin_client):
    page = admin_client.post(reverse("admin:videos_pause_add"), {"kind": "", "name": ""})

    assert page.status_code == 200
    assert not Pause.objects.exists()
    assert (
        admin_client.get(reverse("admin:videos_pause_add"))
        .context["adminform"]
        .form["kind"]
        .value()
        == ""
    )
