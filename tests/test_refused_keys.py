"""A refused key: who met it fails and says so, the rest wait, and all go on once it works."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from videos.ai import key_check
from videos.durable import runs
from videos.durable.paid import breaker
from videos.exceptions import CircuitOpen, Unauthorized
from videos.models import Breaker, Event, Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_pauses(settings):
    settings.CHRONOS_BREAKER_OPEN_S = 0.2
    settings.CHRONOS_BREAKER_OPEN_CAP_S = 0.5


def test_one_fails_the_rest_wait_and_all_go_on_once_the_key_is_right(
    upload, worker, openai, settings
):
    right = openai.key
    openai.key = "sk-another"
    try:
        met = ended(upload())
        rest = [upload(language="en"), upload(language="de")]
        for video in rest:
            eventually(video.runs.filter(state="waiting", waiting_reason="service").first)
        assert (met.status, met.error_code) == ("failed", "unauthorized")
        assert "goes on by itself" in met.error
        assert Breaker.objects.get(service="transcription").refused
    finally:
        openai.key = right

    for video in [met, *rest]:
        eventually(lambda video=video: ended(video).status == "completed")
    failed = Run.objects.filter(state="failed")
    assert [run.video for run in failed] == [met]
    assert Event.objects.filter(name="video/failed").count() == 1
    assert not Breaker.objects.get(service="transcription").refused


def test_a_key_that_nobody_waits_with_is_tried_without_paying(upload, worker, openai):
    right = openai.key
    openai.key = "sk-another"
    try:
        video = ended(upload())
        first = Breaker.objects.get().openings
        eventually(lambda: Breaker.objects.get().openings > first)
        asked = len(openai.transcribed())
    finally:
        openai.key = right

    eventually(lambda: ended(video).status == "completed")
    assert asked == 1


def test_a_video_that_is_refused_again_and_again_is_left_to_a_person(upload, worker, openai):
    # A service that lists its models to the key, and transcribes nothing for it.
    openai.faults.append(Fault(status=403, path="transcriptions", times=100))

    video = upload()

    refused = video.runs.filter(state="failed")
    eventually(lambda: refused.count() == 3 and not refused.exclude(waits_behind="").exists())
    assert ended(video).error_code == "unauthorized"
    openai.faults.clear()


def test_only_the_first_refusal_is_an_error_of_its_run():
    first = breaker.record("embedding", Unauthorized("no"))
    second = breaker.record("embedding", Unauthorized("no"))

    assert isinstance(first, Unauthorized)
    assert first.service == "embedding"
    assert isinstance(second, CircuitOpen)
    assert breaker.record("embedding", None) is None
    assert not Breaker.objects.get().refused


def test_a_run_that_a_person_has_replaced_is_not_resumed(upload, worker, openai):
    openai.faults.append(Fault(status=401, path="embeddings"))
    video = upload()
    eventually(lambda: video.runs.filter(state="failed").exists())
    video.refresh_from_db()
    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "completed"
    eventually(lambda: not Run.objects.filter(state="failed").exclude(waits_behind="").exists())
    assert video.runs.count() == 2


@pytest.mark.parametrize(
    ("status", "works"), [(200, True), (401, False), (404, True), (500, False)]
)
def test_what_says_that_a_key_works(openai, monkeypatch, status, works):
    monkeypatch.setattr(openai, "get", lambda path, key: (status, {"object": "list", "data": []}))

    assert key_check.works("transcription") == works
    assert not key_check.works("a service of another app")


def test_other_failures_are_not_resumed(creator):
    run = Run.objects.create(
        function="x",
        stage="run",
        state="running",
        waits_behind="embedding",
        lease_until=timezone.now() + timedelta(seconds=9),
    )
    runs.fail(run, "rejected", "no")

    run.refresh_from_db()
    assert run.waits_behind == ""
