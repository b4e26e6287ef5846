"""Sending an event from the admin, and what an event started, or why nothing."""

import json
import re
import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from tests.rows import completed_video
from videos.durable.explanation import why_nothing
from videos.durable.registry import registry
from videos.models import Event, Run, SetAside

pytestmark = pytest.mark.django_db

ADD = "admin:videos_event_add"
GREETING = "letters/greeting.requested"
BATCH = "video/embeddings.batch-reprocess"


def text(answer):
    return answer.content.decode()


def fields(page):
    return set(re.findall(r'name="(\w+)"', page)) - {"csrfmiddlewaretoken"}


def test_what_can_be_sent_is_offered_and_what_is_emitted_is_not(admin_client):
    page = text(admin_client.get(reverse(ADD)))

    assert GREETING in page
    assert "video/completed" not in page


@pytest.mark.parametrize("name", sorted(registry.types))
def test_every_type_of_event_has_a_form(admin_client, name):
    page = text(admin_client.get(reverse(ADD), {"name": name}))

    assert ("event_key" in fields(page)) == (not registry.types[name].emitted)


def test_an_event_is_sent_by_a_form_of_its_own_fields(admin_client, admin_user):
    address = f"{reverse(ADD)}?name={GREETING}"
    assert fields(text(admin_client.get(address))) >= {"name", "event_key"}

    answer = admin_client.post(address, {"name": "<b>Ada</b>", "diary": "d", "event_key": "k1"})

    event = Event.objects.get(name=GREETING)
    assert answer.headers["Location"] == reverse("admin:videos_event_change", args=[event.pk])
    assert (event.data["name"], event.key) == ("<b>Ada</b>", "k1")
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (admin_user, str(event.pk))
    page = text(admin_client.get(answer.headers["Location"]))
    assert "<b>Ada" not in page
    assert f"?event={event.pk}" in page


def test_what_is_a_list_begins_as_an_empty_one(admin_client):
    page = text(admin_client.get(reverse(ADD), {"name": BATCH}))

    assert re.search(r"<textarea[^>]*>\s*\[\]</textarea>", page)


def test_data_that_does_not_fit_is_refused_by_its_field(admin_client):
    address = f"{reverse(ADD)}?name={BATCH}"

    for ids in ("", "{", json.dumps(["no id"]), json.dumps([str(uuid.uuid4())])):
        page = text(admin_client.post(address, {"video_ids": ids}))
        assert "errorlist" in page

    assert not Event.objects.filter(name=BATCH).exists()


def test_an_event_that_was_sent_can_be_changed_and_sent_again(admin_client, creator):
    video = completed_video(creator)
    event = Event.objects.create(name=BATCH, data={"video_ids": [str(video.pk)]})

    page = text(admin_client.get(reverse(ADD), {"event": str(event.pk)}))

    assert str(video.pk) in page
    assert text(admin_client.get(reverse(ADD), {"event": "no id"})) != page


def test_who_may_not_add_events_sends_none(client, creator):
    creator.is_staff = True
    creator.save()
    creator.user_permissions.add(Permission.objects.get(codename="view_event"))
    client.force_login(creator)

    assert client.get(reverse(ADD)).status_code == 403
    assert client.post(f"{reverse(ADD)}?name={GREETING}", {"name": "x"}).status_code == 403
    assert not Event.objects.exists()


# --- What it started --------------------------------------------------------------------


def test_an_event_names_its_runs_or_says_why_there_are_none(admin_client, creator):
    event = Event.objects.create(name="nobody/cares", data={})
    address = reverse("admin:videos_event_change", args=[event.pk])
    assert "not dispatched yet" in why_nothing(event)

    event.dispatched_at = timezone.now()
    assert "No function is started" in why_nothing(event)
    event.name = GREETING
    assert "found nothing to do" in why_nothing(event)
    event.save()
    SetAside.objects.create(
        kind="event", item_id=event.pk, function="greet", error="?!", next_attempt_at=timezone.now()
    )
    assert why_nothing(event) == "greet could not be started, and is tried again: ?!"
    assert "greet could not be started" in text(admin_client.get(address))

    run = Run.objects.create(function="greet", stage="run", event=event)

    assert why_nothing(event) == ""
    assert reverse("admin:videos_run_change", args=[run.pk]) in text(admin_client.get(address))
