"""Workers that are to take nothing more, for a while or to their end; nothing is paid twice."""

import gc
import os
import signal

import dramatiq
import pytest
from django.urls import reverse

from tests.conftest import ended, eventually
from tests.test_commands import manage
from videos.durable import ending, pauses, workers
from videos.durable.capacity import live_slots
from videos.durable.registry import registry
from videos.middleware import Durability
from videos.models import Call, Pause, Run, Worker

pytestmark = pytest.mark.django_db(transaction=True)


def only_worker():
    eventually(Worker.objects.exists)
    return Worker.objects.get()


@pytest.mark.processes
def test_a_worker_that_ends_waits_for_its_calls_in_flight(
    upload, worker_process, openai, monkeypatch
):
    monkeypatch.setenv("CHRONOS_DRAIN_S", "20")
    openai.gate.clear()
    video = upload()
    process = worker_process()
    eventually(openai.transcribed)

    process.send_signal(signal.SIGTERM)
    seen = only_worker().last_seen
    eventually(lambda: only_worker().last_seen > seen)
    openai.gate.set()
    process.wait(timeout=20)

    call = Call.objects.get(service=Call.Service.TRANSCRIPTION)
    assert (call.state, call.used) == ("answered", True)
    worker_process()
    assert ended(video).status == "completed"
    assert len(openai.transcribed()) == 1


@pytest.mark.processes
def test_a_drained_worker_ends_well_after_its_calls(upload, worker_process, openai):
    openai.gate.clear()
    video = upload()
    process = worker_process()
    eventually(openai.transcribed)

    (asked,) = manage("drain", "--all", "--json")["workers"]
    assert not asked["ended"]
    # Longer than CHRONOS_DRAIN_S of the tests: a drain has the time of the longest call.
    eventually(lambda: not live_slots())
    assert process.poll() is None
    openai.gate.set()
    manage("drain", "--all", "--wait", "20")

    assert process.wait(timeout=20) == 0
    assert Call.objects.get(service=Call.Service.TRANSCRIPTION).used
    worker_process()
    assert ended(video).status == "completed"
    assert len(openai.transcribed()) == 1


@pytest.mark.processes
def test_drained_processes_of_one_master_end_well_together(worker_process):
    process = worker_process("--processes", "2")
    eventually(lambda: Worker.objects.count() == 2)

    manage("drain", "--all", "--wait", "20")

    assert process.wait(timeout=20) == 0
    assert not Worker.objects.exists()


@pytest.mark.parametrize("asks", [True, False])
def test_a_process_that_ends_by_itself_may_be_ended_once_more(monkeypatch, asks):
    """As Dramatiq does, once another process of the same master has ended; it kills at the next."""
    received = []
    monkeypatch.setattr(ending, "insist_on_end", lambda code: None)
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("ended"))
    try:
        ending.heed_its_own_signal()
        if asks:
            ending.end_process()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
        ending._is_asked.clear()

    assert len(received) == 2


def test_a_paused_worker_takes_nothing_until_it_is_resumed(upload, worker):
    row = only_worker()
    manage("pause", "--worker", row.pid, "--why", "look at it")
    eventually(lambda: live_slots() == 0)
    video = upload()

    assert not Run.objects.filter(state="running").exists()
    (resumed,) = manage("resume", "--worker", row.pk, "--json")["resumed"]

    assert resumed["why"] == "look at it"
    assert ended(video).status == "completed"


def test_a_worker_that_does_not_live_is_named_in_vain():
    manage("pause", "--worker", "1", code=2)
    manage("drain", "--worker", "1", code=2)
    manage("drain", code=2)
    assert manage("drain", "--all", "--json") == {"workers": []}


@pytest.mark.parametrize("action", ["pause", "resume", "drain"])
def test_workers_are_steered_from_the_admin(admin_client, worker, action):
    row = only_worker()
    if action == "resume":
        pauses.begin(Pause.Kind.WORKER, str(row.pk))

    address = reverse("admin:videos_worker_changelist")
    said = admin_client.post(
        address, {"action": action, "_selected_action": [str(row.pk)]}, follow=True
    )

    assert b"1 worker(s)" in said.content
    row.refresh_from_db()
    assert row.drain_requested == (action == "drain")
    assert pauses.of_worker(row.pk).exists() == (action == "pause")


def test_a_worker_that_lacks_a_library_ends_before_it_takes_runs(monkeypatch, caplog):
    monkeypatch.setattr(registry, "worker_modules", ["no_such_library"])
    exit_codes = []
    monkeypatch.setattr(os, "_exit", exit_codes.append)

    Durability().after_process_boot(dramatiq.get_broker())
    gc.unfreeze()

    assert exit_codes == [os.EX_CONFIG]
    assert "No module named 'no_such_library'" in caplog.text


def test_a_workers_clock_and_release_are_known(monkeypatch, settings, request):
    monkeypatch.setattr(workers, "_BEAT", workers._BEAT.replace("%(time)s", "%(time)s + 90"))
    settings.CHRONOS_RELEASE = "f00"
    request.getfixturevalue("worker")

    seen = eventually(Worker.objects.first)

    assert seen.is_clock_off
    assert seen.clock_ahead_s == pytest.approx(90, abs=2)
    assert seen.release == "f00"
