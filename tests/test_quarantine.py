"""Workers that die, that are asked to end, and what they leave behind."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from uuid6 import uuid7

from tests.conftest import ended, eventually, worker_environment
from videos import events
from videos.durable import quarantine, runs, sweep, workers
from videos.durable.workers import WorkerHeartbeat
from videos.local import workdirs
from videos.middleware import Intake
from videos.models import Run, Worker

pytestmark = pytest.mark.django_db(transaction=True)


def greet(tmp_path, **fields):
    data = {"name": "Ada", "diary": str(tmp_path / "diary"), **fields}
    return events.send("letters/greeting.requested", data).runs.get()


def test_a_run_that_kills_its_workers_dies_alone(worker_process, tmp_path):
    fatal = greet(tmp_path, kill_always=True)
    Run.objects.update(deaths=2)
    process = worker_process()

    eventually(lambda: Run.objects.get(pk=fatal.pk).state == "failed")
    neighbour = greet(tmp_path)
    eventually(lambda: Run.objects.get(pk=neighbour.pk).state == "completed")

    fatal.refresh_from_db()
    assert fatal.error_code == "worker_lost"
    assert "SIGKILL" in fatal.error
    assert process.poll() is None


def test_a_worker_that_is_asked_to_end_hands_its_run_over(upload, worker_process, openai):
    openai.gate.clear()
    video = upload()
    process = worker_process()
    eventually(openai.transcribed)

    process.send_signal(signal.SIGTERM)
    process.wait(timeout=15)

    run = Run.objects.get()
    assert (run.state, run.deaths) == ("queued", 0)
    assert not run.steps.filter(state="failed").exists()
    openai.gate.set()
    worker_process()
    assert ended(video).status == "completed"


def test_a_dead_consumer_ends_the_process(worker, monkeypatch):
    asked = []
    monkeypatch.setattr(workers, "end_process", lambda: asked.append(True))
    heartbeat = WorkerHeartbeat(
        worker, Intake(worker.broker, worker), ["default"], owns_process=True
    )
    heartbeat.beat()
    assert not asked

    consumer = worker.consumers["bulk"]
    consumer.stop()
    consumer.join()
    heartbeat.beat()

    assert asked
    Worker.objects.filter(pk=heartbeat.worker_id).delete()


def test_folders_of_killed_processes_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os, signal\nfrom videos.local import workdirs\n"
        "with workdirs.folder() as path:\n"
        "    (path / 'audio').write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = worker_environment() | {"TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(Path(tmp_path).iterdir())) == 1

    with workdirs.folder() as mine:
        assert workdirs.sweep() == [""]
        assert mine.exists()

    assert not list(Path(tmp_path).iterdir())


def test_a_sweep_that_finds_nothing_costs_one_look(django_assert_max_num_queries):
    sweep.sweep()
    with django_assert_max_num_queries(4):
        sweep.sweep()


def test_a_message_that_comes_twice_starts_one_process():
    run = Run.objects.create(
        function="f", stage="run", state="queued", deaths=quarantine.MAX_DEATHS
    )

    reserved = [runs.reserve(run.pk, "run", uuid7(), timedelta(seconds=12)) for _ in range(2)]

    assert reserved == [True, False]
