"""Told by email: who asked for it, once for many videos, and never again after one click."""

import re

import pytest
from django.core import mail
from django.urls import reverse

from tests.conftest import eventually
from tests.rows import completed_video
from videos import events
from videos.models import EmailItem, EmailWish, Run
from videos.pipeline import emails

pytestmark = pytest.mark.django_db(transaction=True)
SITE = "https://videos.example/"


@pytest.fixture(autouse=True)
def _soon(settings, monkeypatch):
    settings.CHRONOS_SITE_URL = SITE
    monkeypatch.setattr(emails, "_BURST", emails._BURST / 600)
    monkeypatch.setattr(emails, "_AGAIN_S", 0.2)


@pytest.fixture
def ada(creator):
    creator.email = "ada@example.com"
    creator.save()
    EmailWish.objects.create(user=creator)
    return creator


def complete(video, error=""):
    data = {"video_id": video.pk, "creator_id": video.creator_id}
    if error:
        events.emit("video/failed", **data, error_code="x", error=error)
    else:
        events.emit("video/completed", **data, duration_s=60, chunk_count=1)


def test_many_videos_are_one_email(ada, worker):
    videos = [completed_video(ada) for _ in range(3)]
    for video in videos[:2]:
        complete(video)
    complete(videos[2], error="It has <no> audio.")

    eventually(lambda: mail.outbox)
    (message,) = mail.outbox
    assert (message.to, message.subject) == (["ada@example.com"], "3 videos are done")
    for video in videos:
        assert f"{SITE}v/{video.pk}/" in message.body
    assert "failed: It has <no> audio." in message.body
    eventually(lambda: not EmailItem.objects.exists())
    assert Run.objects.filter(function__startswith="send_digest").count() == 1


def test_a_digest_waits_for_what_is_still_processed(ada, worker):
    complete(completed_video(ada))
    other = completed_video(ada)
    working = Run.objects.create(
        function="f",
        stage="s",
        video=other,
        state="waiting",
        waiting_reason="paused",
        next_attempt_at="2100-01-01T00:00Z",
    )

    waits = Run.objects.filter(function__startswith="send_digest", waiting_reason="asleep")
    eventually(waits.exists)
    assert mail.outbox == []
    Run.objects.filter(pk=working.pk).update(state="completed")
    eventually(lambda: mail.outbox)


def test_nobody_is_told_who_did_not_ask(creator, ada, settings, django_user_model):
    grace = django_user_model.objects.create_user("grace", email="grace@example.com")
    complete(completed_video(grace))
    nameless = django_user_model.objects.create_user("nameless")
    EmailWish.objects.create(user=nameless)
    complete(completed_video(nameless))
    settings.CHRONOS_SITE_URL = ""
    complete(completed_video(ada))

    assert not Run.objects.filter(function__startswith="send_digest").exists()
    assert not EmailItem.objects.exists()


def test_one_click_ends_it(ada, client, worker):
    complete(completed_video(ada))
    (message,) = eventually(lambda: mail.outbox)
    link = message.extra_headers["List-Unsubscribe"].strip("<>")
    assert link in message.body
    assert message.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = "/" + link.removeprefix(SITE)

    # Programs that look at links end nothing.
    assert client.get(path).status_code == 200
    assert EmailWish.objects.exists()
    client.handler.enforce_csrf_checks = True
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert not EmailWish.objects.exists()
    assert client.post(re.sub("[^/]+/$", "forged/", path)).status_code == 404


def test_a_creator_turns_it_on_and_off(client, creator):
    client.force_login(creator)
    page = reverse("videos:upload")
    assert "Tell me by email" not in client.get(page).content.decode()
    type(creator).objects.update(email="ada@example.com")

    assert "Tell me by email" in client.get(page).content.decode()
    client.post(reverse("videos:wish"), {"wanted": "1"})
    assert EmailWish.objects.get().user == creator
    assert "You are told by email" in client.get(page).content.decode()
    client.post(reverse("videos:wish"))
    assert not EmailWish.objects.exists()


def test_without_an_address_of_the_site_it_is_not_offered(client, creator, settings):
    settings.CHRONOS_SITE_URL = ""
    client.force_login(creator)

    assert "email" not in client.get(reverse("videos:upload")).content.decode()
