"""Durable functions of other apps: steps done once, failures handled."""

import logging

import pytest

from tests.conftest import eventually
from videos import events
from videos.durable.registry import registry
from videos.models import Run, Step, Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def diary(tmp_path):
    return tmp_path / "diary"


def greet(diary, event="letters/greeting.requested", **fields):
    sent = events.send(event, {"name": "Ada", "diary": str(diary), **fields})
    return sent.runs.get()


def test_steps_hand_their_results_on(worker, diary):
    run = greet(diary)

    eventually(lambda: Run.objects.get(pk=run.pk).state == "completed")
    assert diary.read_text().splitlines() == ["write", "send Dear Ada"]


def test_a_worker_killed_between_two_steps_does_not_repeat_the_first(worker_process, diary):
    worker_process()
    eventually(lambda: Worker.objects.exists())
    run = greet(diary, kill_between=True)
    eventually(lambda: Run.objects.get(pk=run.pk).steps.filter(state="done").exists())

    worker_process()

    eventually(lambda: Run.objects.get(pk=run.pk).state == "completed", timeout_s=40)
    assert diary.read_text().splitlines() == ["write", "send Dear Ada"]
    assert Run.objects.get(pk=run.pk).attempt == 2


def test_a_failing_step_is_retried_alone_and_then_the_run_fails(worker, diary, caplog):
    caplog.set_level(logging.INFO, "videos")
    run = greet(diary, fail=True)

    eventually(lambda: Run.objects.get(pk=run.pk).state == "failed")
    assert diary.read_text().splitlines() == ["write", "send Dear Ada", "send Dear Ada"]
    run.refresh_from_db()
    assert run.error_code == "internal"
    assert "no stamps" in run.error
    assert Step.objects.get(run=run, key="send").attempts == 2
    eventually(lambda: any(" failed in " in line for line in caplog.messages))
    told = [record for record in caplog.records if hasattr(record, "run_id")]
    assert [record.levelname for record in told] == ["INFO", "WARNING"]
    assert " tries run again in " in told[0].message
    assert " failed in run: internal: " in told[1].message
    assert {(record.run_id, record.error_code) for record in told} == {(str(run.pk), "internal")}


def test_a_failure_handler_runs_durably_and_knows_the_reason(worker, diary):
    run = greet(diary, event="letters/card.requested", fail=True)

    handler = eventually(lambda: Run.objects.filter(parent=run).first())
    eventually(lambda: Run.objects.get(pk=handler.pk).state == "completed")
    assert diary.read_text().splitlines() == ["send card", "apologise for internal"]


def test_a_function_that_no_worker_knows_ends_as_failed(worker, diary):
    run = greet(diary)
    eventually(lambda: Run.objects.get(pk=run.pk).state == "completed")
    broker = worker.broker
    message = broker.get_actor(run.function).message(str(run.pk))
    Run.objects.filter(pk=run.pk).update(state="queued")
    broker.enqueue(message.copy(actor_name="letters.gone"))

    eventually(lambda: Run.objects.get(pk=run.pk).state == "failed")
    assert "letters.gone" in Run.objects.get(pk=run.pk).error


def test_two_functions_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="already"):
        registry.add_function(next(iter(registry.functions.values())))


def test_one_event_has_one_data_class():
    with pytest.raises(ValueError, match="Greeting"):
        registry.add_type("letters/greeting.requested", dict)
