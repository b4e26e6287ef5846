"""What the first page says of each of twenty faults, by itself: `--durations=0` tells how soon."""

import html
import re
from datetime import timedelta

import dramatiq
import pytest
import redis
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from tests.conftest import eventually
from tests.media import make_mute
from tests.openai_server import Fault
from videos import events
from videos.durable import pauses
from videos.exceptions import DiskFull
from videos.models import Budget, Call, Pause, Run, ServingModel, SetAside, Video, Worker
from videos.pipeline import storage

pytestmark = pytest.mark.django_db(transaction=True)


class Scene:
    """What a fault is injected with."""

    def __init__(self, request, **parts):
        self.request = request
        vars(self).update(parts)

    def work(self):
        """Start a worker, in this process."""
        self.request.getfixturevalue("worker")

    def answers(self, times=99, **fault):
        self.openai.faults.append(Fault(path="transcriptions", times=times, **fault))
        self.work()
        self.upload()

    def sends(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        self.work()
        self.upload(path)


def service_is_down(scene):
    scene.settings.CHRONOS_BREAKER_FAILURES = 2
    scene.answers(status=503)


def service_hangs_up(scene):
    scene.settings.CHRONOS_BREAKER_FAILURES = 2
    scene.answers(cut_off=True)


def key_is_revoked(scene):
    scene.settings.CHRONOS_TRANSCRIPTION_API_KEY = "sk-revoked"
    scene.work()
    scene.upload()


def account_is_empty(scene):
    said = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    scene.answers(status=429, body=said)


def model_is_gone(scene):
    scene.answers(status=404)


def service_refuses_the_input(scene):
    scene.answers(status=400)


def service_asks_to_wait(scene):
    scene.answers(status=429, headers={"Retry-After": "60"})


def service_answers_nonsense(scene):
    scene.answers(status=200, body={"nonsense": True})


def file_is_none(scene):
    scene.sends("talk.mp4", b"This is no video." * 100)


def file_is_silent_of_audio(scene):
    scene.work()
    scene.upload(make_mute(scene.folder / "mute.mp4"))


def file_is_gone(scene):
    video = scene.upload()
    video.file.storage.delete(video.file.name)
    scene.work()


def disk_is_full(scene):
    def full(*_):
        raise DiskFull("The disk is full.", retry_after_s=60)

    scene.monkeypatch.setattr(storage, "check_room", full)
    scene.work()
    scene.upload()


def nobody_serves_a_queue(scene):
    scene.work()
    Run.objects.create(function="x", stage="run", queue="letters", creator=scene.creator)


def no_worker_lives(scene):
    scene.upload()
    Worker.objects.update(last_seen=timezone.now() - timedelta(seconds=11))


def worker_was_killed(scene):
    scene.work()
    Worker.objects.create(
        pid=9, host="beta", threads=1, last_seen=timezone.now() - timedelta(seconds=11)
    )


def thread_is_stuck(scene):
    Worker.objects.create(pid=9, host="beta", threads=1, stuck_threads=1, last_seen=timezone.now())


def clock_is_wrong(scene):
    now = timezone.now()
    Worker.objects.create(pid=9, host="beta", threads=1, clock_ahead_s=-90.0, last_seen=now)


def budget_is_out(scene):
    Budget.objects.create(creator=scene.creator, month_usd=1)
    Call.objects.create(
        creator=scene.creator, service="embedding", model="m", state="answered", cost_usd=1
    )


def somebody_forgot_a_pause(scene):
    pauses.begin(Pause.Kind.QUEUE, "bulk", by="eve", why="deployment")


def an_event_cannot_be_handled(scene):
    SetAside.objects.create(
        kind="event", item_id=Worker().pk, error="?", next_attempt_at=timezone.now()
    )


def function_fails(scene):
    scene.work()
    events.send("letters/card.requested", {"name": "Ada", "diary": "", "fail": True})


def another_model_is_configured(scene):
    ServingModel.objects.create(model="old-embed", dimensions=32)


SAYS = {
    service_is_down: "The transcription service failed 2 time(s) in a row",
    service_hangs_up: "The transcription service failed 2 time(s) in a row",
    key_is_revoked: "refused the API key",
    account_is_empty: "has no quota left",
    model_is_gone: "failed in the last hour: misconfigured",
    service_refuses_the_input: "failed in the last hour: rejected",
    service_asks_to_wait: "waiting=service",
    service_answers_nonsense: "failed in the last hour: bad_response",
    file_is_none: "failed in the last hour: unreadable_media",
    file_is_silent_of_audio: "failed in the last hour: no_audio",
    file_is_gone: "failed in the last hour: missing_file",
    disk_is_full: "waiting=disk",
    nobody_serves_a_queue: "No live worker serves the queue letters",
    no_worker_lives: "No worker is alive",
    worker_was_killed: "The worker 9 on beta is silent since",
    thread_is_stuck: "1 thread(s) of the worker 9 on beta are stuck",
    clock_is_wrong: "The clock of beta is 90 s behind the database's",
    budget_is_out: "The budget of ada is spent",
    somebody_forgot_a_pause: "By eve since",
    an_event_cannot_be_handled: "1 event(s) or run(s) were set aside",
    function_fails: "failed in the last hour: internal",
    another_model_is_configured: "old-embed serves searches",
}


@pytest.mark.parametrize("inject", SAYS, ids=lambda inject: inject.__name__)
def test_the_first_page_says_what_is_wrong(
    inject, request, admin_client, creator, upload, openai, settings, monkeypatch, tmp_path
):
    scene = Scene(
        request,
        creator=creator,
        upload=upload,
        openai=openai,
        settings=settings,
        monkeypatch=monkeypatch,
        folder=tmp_path,
    )

    Worker.objects.create(
        pid=1, host="alpha", queues=["default"], threads=1, last_seen=timezone.now()
    )

    def page():
        cache.clear()
        return html.unescape(
            admin_client.get(reverse("admin:videos_run_overview")).content.decode()
        )

    assert SAYS[inject] not in page()
    inject(scene)

    eventually(lambda: SAYS[inject] in page())
    # It counts what needs a person, and does not call it well meanwhile.
    if not SAYS[inject].startswith("waiting="):
        assert re.search(r"[1-9]\d* things? needs? a person", page())
    assert Video.objects.filter(status="completed").count() == 0


def test_the_first_page_says_that_the_broker_is_away(admin_client, creator, monkeypatch):
    def refuse():
        raise redis.ConnectionError("Connection refused.")

    monkeypatch.setattr(dramatiq.get_broker().client, "ping", refuse)

    page = admin_client.get(reverse("admin:videos_run_overview")).content.decode()

    assert "The broker does not answer" in page
