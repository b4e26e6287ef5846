"""A service that is down: no calls to it, no retry spent on it, and on it goes by itself."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from videos.durable.paid import breaker
from videos.exceptions import CircuitOpen
from videos.models import Breaker, Call, Run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_service_that_is_down_costs_no_retry(upload, worker, openai, settings):
    settings.CHRONOS_BREAKER_FAILURES = 2
    settings.CHRONOS_BREAKER_OPEN_S = 0.1
    settings.CHRONOS_BREAKER_OPEN_CAP_S = 0.1
    openai.faults.append(Fault(status=503, path="transcriptions", times=9))

    video = ended(upload())

    assert video.status == "completed", video.error
    assert Call.objects.filter(service="transcription", state="failed").count() == 9
    assert Breaker.objects.get(service="transcription").state == "closed"


def test_runs_wait_behind_an_open_breaker_and_say_why(upload, worker, openai, settings):
    settings.CHRONOS_BREAKER_FAILURES = 1
    settings.CHRONOS_BREAKER_OPEN_S = 60.0
    openai.faults.append(Fault(status=503, path="transcriptions"))
    first = upload()
    waiting = eventually(Run.objects.filter(state="waiting", waiting_reason="service").first)
    assert waiting.waiting_for["reason"] == "service"
    assert Breaker.objects.get().state == "open"
    assert len(openai.transcribed()) == 1

    Breaker.objects.update(open_until=timezone.now())
    Run.objects.update(next_attempt_at=timezone.now())

    assert ended(first).status == "completed"


def test_one_call_at_a_time_tries_whether_the_service_is_back():
    past = timezone.now() - timedelta(seconds=1)
    Breaker.objects.create(service="embedding", failures=5, openings=1, open_until=past)

    assert breaker.acquire_call("embedding")
    with pytest.raises(CircuitOpen) as refused:
        breaker.acquire_call("embedding")

    assert refused.value.retry_after_s > 0
    assert not breaker.acquire_call("transcription")


def test_an_answer_closes_it_and_wakes_what_waits(creator):
    later = timezone.now() + timedelta(hours=1)
    Breaker.objects.create(service="embedding", failures=5, openings=1, open_until=later)
    for behind in ("embedding", "transcription", ""):  # The last obeys a Retry-After.
        Run.objects.create(
            function="process_video",
            creator=creator,
            state="waiting",
            waiting_reason="service",
            waits_behind=behind,
            holds_slot=True,
            next_attempt_at=later,
        )

    breaker.record("embedding", None)

    woken = Run.objects.filter(next_attempt_at__lte=timezone.now())
    assert [run.waits_behind for run in woken] == ["embedding"]
    assert not breaker.acquire_call("embedding")
