"""Services that drip, drown or deceive: every call ends, and what was paid is booked."""

import json
import threading
import time

import pytest
from django.db import connection, transaction

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from tests.rows import completed_video
from videos.durable import admission, claims, ending, heartbeat
from videos.durable.paid import breaker
from videos.exceptions import CircuitOpen, ServiceUnavailable
from videos.models import Breaker, Call, Run, Video
from videos.search import search

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_search_does_not_wait_for_a_service_that_drips(creator, openai, monkeypatch):
    monkeypatch.setattr("videos.search.vectors._QUERY_TIMEOUT_S", 0.5)
    completed_video(creator)
    openai.faults.append(Fault(status=200, path="embeddings", drip_s=0.05, times=9))

    assert search("sentence", Video.objects.all())

    call = Call.objects.get(run_id=None)
    assert (call.state, "in time" in call.error) == ("unknown", True)


@pytest.mark.parametrize("path", ["transcriptions", "embeddings"])
def test_no_stage_waits_for_a_service_that_drips(upload, worker, openai, settings, path):
    settings.CHRONOS_SERVICE_DEADLINE_S = 0.8
    openai.faults.append(Fault(status=200, path=path, drip_s=0.1))

    video = ended(upload())

    assert video.status == "completed"
    late = Call.objects.get(state="unknown")
    assert "in time" in late.error


DEEP = b'{"text": "", "segments": ' + b"[" * 200_000
DIGITS = b'{"text": "x", "duration": ' + b"9" * 10_000 + b"}"
ABSURD = {"text": "x", "segments": [{"start": 0, "end": 1e300, "text": "x"}]}
BAD = {"text": "x", "segments": [{"end": 0, "text": "no start"}]}


@pytest.mark.parametrize("body", [DEEP, DIGITS, ABSURD, b'{"text": "x", "segments": [NaN]}'])
def test_an_absurd_answer_is_bad_and_not_asked_for_again(upload, worker, openai, body):
    openai.faults.append(Fault(status=200, path="transcriptions", body=body, times=9))

    video = ended(upload())

    assert (video.status, video.error_code) == ("failed", "bad_response")
    expected = 4 if b"NaN" in (body if isinstance(body, bytes) else b"") else 1
    assert Call.objects.count() == expected


@pytest.mark.parametrize(
    ("usage", "seconds"), [({"seconds": 5}, 5.0), ({"seconds": 1e8}, 8.0), ({}, 8.0)]
)
def test_what_a_useless_answer_cost_is_booked_within_what_was_sent(
    upload, worker, openai, usage, seconds
):
    body = BAD | {"usage": usage}
    openai.faults.append(Fault(status=200, path="transcriptions", body=body, times=9))

    video = ended(upload())

    assert video.error_code == "bad_response"
    calls = Call.objects.all()
    assert {(call.state, call.http_status, call.used) for call in calls} == {
        ("answered", 200, False)
    }
    assert all(0 < call.audio_seconds <= seconds for call in calls)
    assert all(call.cost_usd > 0 and "segment" in call.error for call in calls)


def test_an_answer_without_end_is_not_kept_in_memory(upload, worker, openai, monkeypatch):
    monkeypatch.setattr("videos.ai.openai_client._MAX_BODY_BYTES", 1_000)
    openai.faults.append(
        Fault(status=200, path="transcriptions", body=b" " * 100_000 + b"{}", times=9)
    )

    video = ended(upload())

    assert (video.status, video.error_code) == ("failed", "bad_response")
    assert Call.objects.count() == 1


def test_an_embedding_beyond_all_bounds_is_a_bad_answer(upload, worker, openai):
    body = json.dumps({"data": [{"index": 0, "embedding": [10**400] * 32}]}).encode()
    openai.faults.append(Fault(status=200, path="embeddings", body=body, times=9))

    video = ended(upload())

    assert (video.status, video.error_code) == ("failed", "bad_response")
    assert Call.objects.filter(service="embedding").count() == 1


# The breaker's patience


def test_an_input_that_always_gets_a_500_fails_in_the_end(upload, worker, openai, settings):
    settings.CHRONOS_BREAKER_FAILURES = 1
    settings.CHRONOS_BREAKER_OPEN_S = 0.05
    settings.CHRONOS_BREAKER_OPEN_CAP_S = 0.05
    settings.CHRONOS_BREAKER_PATIENCE_S = 1.0
    openai.faults.append(Fault(status=500, path="transcriptions", times=10_000))

    video = ended(upload())

    assert (video.status, video.error_code) == ("failed", "service_unavailable")
    assert Breaker.objects.get().opened_at is not None


def test_an_outage_is_nobodys_fault_as_long_as_it_may_be_one(settings):
    settings.CHRONOS_BREAKER_FAILURES = 1
    first, second = (
        breaker.record("embedding", ServiceUnavailable("down", http_status=500)) for _ in range(2)
    )
    assert isinstance(first, CircuitOpen)
    assert isinstance(second, CircuitOpen)

    breaker.record("embedding", None)

    assert Breaker.objects.get().opened_at is None


# Locks


def test_two_that_write_down_reasons_wait_for_no_one(creator):
    """Each in a transaction of its own that goes on: either may be slow, neither waits."""
    Run.objects.bulk_create(
        Run(function="process_video", stage="transcribe", creator=creator) for _ in range(50)
    )
    errors = []
    held, done = threading.Barrier(2), threading.Barrier(2)

    def write(reason):
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '2s'")
                half = "id" if reason == "rate" else "-id"
                some = list(Run.objects.order_by(half).values_list("pk", flat=True)[:25])
                Run.objects.filter(pk__in=some).update(priority=1)
                held.wait(10)
                admission._give_reason(admission.waiting(), Run.Waiting(reason))
                done.wait(10)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[reason]) for reason in ("rate", "capacity")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert sorted(Run.objects.values_list("waiting_reason", flat=True)) == (
        ["capacity"] * 25 + ["rate"] * 25
    )


def test_a_worker_that_ends_waits_for_no_row(upload, monkeypatch, settings):
    settings.CHRONOS_DRAIN_S = 0
    monkeypatch.setattr(ending, "_END_WITHIN_S", 0.1)
    upload()
    Run.objects.update(state="queued")
    run = Run.objects.get()
    exits = []
    monkeypatch.setattr(ending.os, "_exit", exits.append)

    with claims.claimed(run.pk, "transcribe", None, {"process_video": 3600}) as claim:
        assert claim is not None
        locked, let_go = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                Video.objects.select_for_update().get()
                locked.set()
                let_go.wait(30)
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        locked.wait(10)
        begun = time.monotonic()
        ending.insist_on_end(75)
        eventually(lambda: exits)
        waited = time.monotonic() - begun
        let_go.set()
        holder.join()

    assert exits == [75]
    assert waited < ending._HAND_OVER_WITHIN_S
    assert Run.objects.get().state == "running"  # Left to the sweep.


def test_a_heartbeat_changes_no_index(upload):
    """Of all writes it is the most frequent; a HOT update writes no index at all."""
    upload()
    Run.objects.update(state="queued")
    run = Run.objects.get()

    def counts():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables"
                " WHERE relname = 'videos_run'"
            )
            return cursor.fetchone()

    with (
        claims.claimed(run.pk, "transcribe", None, {"process_video": 3600}) as claim,
        transaction.atomic(),
    ):
        updated, hot = counts()
        for _ in range(5):
            heartbeat.renew([claim])
        after, hot_after = counts()

    assert (after - updated, hot_after - hot) == (5, 5)


def test_a_call_that_never_reached_the_service_cost_nothing(upload, worker, settings):
    settings.CHRONOS_TRANSCRIPTION_BASE_URL = "http://127.0.0.1:9/v1"
    settings.CHRONOS_BREAKER_FAILURES = 1

    upload()

    call = eventually(Call.objects.exclude(state="sent").first)
    assert (call.state, call.http_status) == ("failed", None)
    assert "refused" in call.error
