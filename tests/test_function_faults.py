"""What a function's own code does wrong costs its run, and nothing that was paid for twice."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import dramatiq
import pytest
from django.db import connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.utils import ConnectionHandler

from tests.conftest import eventually
from videos import events
from videos.durable import claims, heartbeat, workers
from videos.durable.functions import RunContext
from videos.durable.registry import registry
from videos.exceptions import EventRefused, FunctionFault, HandedOver
from videos.models import Run, SetAside, Worker

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = count()


@dataclass
class Anything:
    value: object = None


@pytest.fixture
def start():
    """Register a function of this process, and start it."""
    names = []

    def register_and_send(callee, **options):
        callee.__name__ = f"{callee.__name__}_{next(_numbers)}"
        name = f"{callee.__module__}.{callee.__name__}"
        events.function(f"test/{name}", data=Anything, **options)(callee)
        names.append(name)
        return events.send(f"test/{name}", {}).runs.get()

    yield register_and_send
    for name in names:
        del registry.functions[name]
        del registry.types[f"test/{name}"]
        del dramatiq.get_broker().actors[name]


def ended(run):
    def has_ended():
        run.refresh_from_db()
        return run.finished_at

    eventually(has_ended)
    return run


@pytest.mark.parametrize("text", ["a NUL \0 in it", "a lone \ud800 surrogate"])
def test_an_error_that_postgres_cannot_store_is_retried_and_told(worker, start, text):
    calls = []

    def fail():
        calls.append(1)
        raise RuntimeError(text)

    def call_and_fail(run, data):
        run.step("once", fail)

    run = ended(start(call_and_fail, retries=1))

    assert (run.state, run.error_code, run.deaths) == ("failed", "internal", 0)
    assert len(calls) == 2
    assert "\ufffd" in run.error
    assert "\ufffd" in run.steps.get().error


@pytest.mark.parametrize("where", ["step", "function"])
def test_an_error_of_another_database_is_the_functions_own(worker, start, where):
    calls = []

    def ask():
        calls.append(1)
        other = DatabaseWrapper({"NAME": ":memory:", "OPTIONS": {}, **_SQLITE}, alias="other")
        with other.cursor() as cursor:
            cursor.execute("SELECT * FROM letters")

    def ask_elsewhere(run, data):
        run.step("ask", ask) if where == "step" else ask()

    run = ended(start(ask_elsewhere, retries=1))

    assert (run.state, run.deaths, len(calls)) == ("failed", 0, 2)
    assert "no such table" in run.error


_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "TIME_ZONE": None,
    "CONN_MAX_AGE": 0,
    "AUTOCOMMIT": True,
    "ATOMIC_REQUESTS": False,
    "CONN_HEALTH_CHECKS": False,
}


def test_another_postgres_that_cannot_be_reached_is_the_functions_own_error(worker, start):
    unreachable = connection.settings_dict | {"HOST": "127.0.0.1", "PORT": "1", "OPTIONS": {}}

    def connect(run, data):
        ConnectionHandler({"default": unreachable})["default"].ensure_connection()

    run = ended(start(connect, retries=1))

    assert (run.state, run.deaths, run.attempt) == ("failed", 0, 2)


def test_a_lost_connection_of_ours_is_nobodys_fault(worker, start):
    seen = []

    def lose_it(run, data):
        seen.append(run.attempt)
        if run.attempt == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    run = ended(start(lose_it, retries=0))

    assert (run.state, seen) == ("completed", [1, 2])


def test_a_step_may_have_any_plain_name_and_is_done_once(worker, start):
    calls = []

    def named_like_ours(run, data):
        run.step("stage", lambda: calls.append(1))
        if run.attempt == 1:
            raise RuntimeError("once more")

    run = ended(start(named_like_ours, retries=1))

    assert (run.state, len(calls)) == ("completed", 1)


def test_a_name_that_no_step_can_have_fails_at_once(worker, start):
    calls = []

    def misname(run, data):
        run.step("(stage)", lambda: calls.append(1))

    run = ended(start(misname))

    assert (run.state, run.attempt, calls) == ("failed", 1, [])
    assert "name of a step" in run.error


@pytest.mark.parametrize("name", ["", "(stage)", "x" * 201, "a\0b", None, "\udc80"])
def test_what_is_no_name_of_a_step(start, name):
    def nothing(run, data):
        pass

    run = start(nothing)

    with pytest.raises(FunctionFault, match="name of a step"):
        RunContext(claims.Claim(run, "run", 60), run).step(name, print)


def test_a_name_that_is_used_twice_fails_instead_of_giving_the_first_result(worker, start):
    def twice(run, data):
        for number in range(2):
            run.step("same", lambda number=number: number)

    run = ended(start(twice))

    assert (run.state, run.attempt) == ("failed", 1)
    assert "two steps named 'same'" in run.error


@pytest.mark.parametrize("swallowing", [Exception, BaseException])
def test_what_ends_a_run_cannot_be_swallowed(worker, start, swallowing):
    """A hand-over in the middle: another execution goes on; neither completes half."""
    handed = []

    def end():
        if not handed:
            claims.live_claims()[0].abort(HandedOver())
            handed.append(1)

    def swallow(run, data):
        for name in ("first", "second", "third"):
            with suppress(swallowing):
                run.step(name, end)

    run = ended(start(swallow))

    assert run.state == "completed"
    assert set(run.steps.values_list("state", flat=True)) == {"done"}
    assert run.attempt == 2


def test_a_failed_step_that_is_swallowed_is_tried_again_all_the_same(worker, start):
    calls = []

    def fail_once():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("not yet")

    def swallow(run, data):
        with suppress(BaseException):
            run.step("once", fail_once)

    run = ended(start(swallow, retries=1))

    assert (run.state, run.steps.get().state, len(calls)) == ("completed", "done", 2)


@pytest.mark.parametrize(
    # Whatever else is none: see `test_storable`.
    "result",
    [float("nan"), "x" * 17_000_000],
)
def test_a_result_that_cannot_be_kept_is_not_paid_for_again(worker, start, result):
    calls = []

    def pay():
        calls.append(1)
        return result

    def keep(run, data):
        run.step("pay", pay)

    run = ended(start(keep))

    assert (run.state, len(calls)) == ("failed", 1)
    assert "'pay'" in run.error


def test_a_result_is_the_same_in_the_first_attempt_as_in_later_ones(worker, start):
    seen = []

    def keep(run, data):
        seen.append(run.step("pair", lambda: (1, {2: "b"})))
        if run.attempt == 1:
            raise RuntimeError("once more")

    ended(start(keep, retries=1))

    assert seen == [[1, {"2": "b"}]] * 2


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], {"x": "a\0"}, "\ud800", {"deep": {"\0": 1}}]
)
def test_data_that_postgres_has_no_json_for_is_refused(start, value):
    def take(run, data):
        pass

    run = start(take)

    with pytest.raises(EventRefused) as refused:
        events.send(run.event.name, {"value": value})
    assert refused.value.field == "data"


def test_deep_data_is_refused(start):
    def take(run, data):
        pass

    run = start(take)
    deep = []
    for _ in range(2_000):
        deep = [deep]

    with pytest.raises(EventRefused):
        events.send(run.event.name, {"value": deep})


def test_a_thread_that_hangs_past_its_deadline_is_no_free_slot(worker, start, monkeypatch):
    monkeypatch.setattr(heartbeat, "_STUCK_S", 0.1)
    monkeypatch.setattr("videos.durable.workers.end_process", lambda: ended_processes.append(1))
    ended_processes = []
    released = []

    def hang(run, data):
        while not released:
            time.sleep(0.05)

    hung = [start(hang, deadline_s=0.1) for _ in range(3)]
    for run in hung:
        assert ended(run).error_code == "timed_out"

    eventually(lambda: Worker.objects.filter(threads=1, stuck_threads=3).exists())
    assert ended(start(lambda_like)).state == "completed"
    assert not ended_processes
    released.append(1)
    eventually(lambda: Worker.objects.filter(threads=4, stuck_threads=0).exists())


def lambda_like(run, data):
    pass


def test_a_process_whose_threads_are_all_stuck_ends(worker, start, monkeypatch):
    monkeypatch.setattr(heartbeat, "_STUCK_S", 0.1)
    ended_processes = []
    monkeypatch.setattr(workers, "end_process", lambda: ended_processes.append(1))
    workers._current._heartbeat._owns_process = True
    released = []

    def hang(run, data):
        while not released:
            time.sleep(0.05)

    hung = [start(hang, deadline_s=0.1) for _ in range(4)]

    eventually(lambda: ended_processes)
    released.append(1)
    assert {ended(run).error_code for run in hung} == {"timed_out"}


def test_giving_a_stage_up_waits_for_no_lock(worker, start, monkeypatch):
    """The heartbeat would cost all other claims their leases."""
    monkeypatch.setattr(heartbeat, "_STUCK_S", 0.1)
    released = []

    def hang(run, data):
        while not released:
            time.sleep(0.05)

    hung, other = start(hang, deadline_s=0.3), start(hang)
    eventually(lambda: Run.objects.filter(state="running").count() == 2)

    with transaction.atomic():
        Run.objects.select_for_update().get(pk=hung.pk)
        lease = Run.objects.get(pk=other.pk).lease_until
        # Two heartbeats later, the hung one is long past its deadline.
        eventually(lambda: Run.objects.get(pk=other.pk).lease_until > lease + timedelta(seconds=3))

    assert ended(hung).error_code == "timed_out"
    released.append(1)
    assert ended(other).state == "completed"


def test_an_end_that_cannot_be_written_costs_no_other_claim_its_lease(worker, start, monkeypatch):
    monkeypatch.setattr(heartbeat, "_STUCK_S", 0.1)
    released = []

    def hang(run, data):
        while not released:
            time.sleep(0.05)

    def fail(run, *_):
        raise KeyError("not even this")

    monkeypatch.setattr("videos.durable.runs.fail", fail)
    hung = start(hang, deadline_s=0.1)
    other = start(hang)

    eventually(lambda: SetAside.objects.filter(item_id=hung.pk).exists())
    lease = Run.objects.get(pk=other.pk).lease_until
    eventually(lambda: Run.objects.get(pk=other.pk).lease_until > lease)
    monkeypatch.undo()
    released.append(1)
    assert ended(other).state == "completed"
