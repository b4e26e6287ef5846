"""One bad run or event never holds up the others: it is set aside, shown, and tried again."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videos import events
from videos.durable import dispatch as dispatch_module
from videos.durable.registry import WHOLE, Function, Stage, registry
from videos.durable.sweep import sweep
from videos.exceptions import MAX_WAIT_S, RateLimited
from videos.models import Event, Run, SetAside, Worker

pytestmark = pytest.mark.django_db(transaction=True)

GREETING = "letters/greeting.requested"
GREET = "tests.letters.greet"
DATA = {"name": "Ada", "diary": "/dev/null"}


@pytest.fixture(autouse=True)
def _a_database_that_is_up_for_an_hour(monkeypatch):
    at = timezone.now() - timedelta(hours=1)
    monkeypatch.setattr("videos.durable.repairs._database_started_at", lambda: at)


@pytest.fixture(autouse=True)
def _a_worker(transactional_db):
    Worker.objects.create(pid=1, host="h", threads=100, last_seen=timezone.now())


@pytest.fixture
def _poison():
    """Have Postgres refuse every write to rows whose data says so."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'poisoned %', NEW.id; END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON videos_run FOR EACH ROW
                WHEN (NEW.data @> '{"name": "poison"}') EXECUTE FUNCTION refuse();
            ALTER TABLE videos_run DISABLE TRIGGER refuse;
            """
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON videos_run; DROP FUNCTION refuse()")


def armed(state):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE videos_run {state} TRIGGER refuse")


def stuck_run(kind, *, poisoned):
    """A run that the sweep has to set going again, of one of the kinds that there are."""
    past, soon = timezone.now() - timedelta(seconds=9), timezone.now() + timedelta(hours=1)
    fields = {
        "lease": {"state": "running", "lease_until": past, "holds_slot": True},
        "cancelled": {"state": "running", "lease_until": past, "cancel_requested": True},
        "hopeless": {"state": "running", "lease_until": past, "deaths": 9},
        "retry": {"state": "retrying", "next_attempt_at": past, "holds_slot": True},
        "message": {"state": "queued", "message_lost_at": past},
        "unknown": {"state": "queued", "message_lost_at": past, "requeues": 12},
    }[kind]
    data = {**DATA, "name": "poison" if poisoned else "Ada"}
    function = "gone.function" if kind == "unknown" else GREET
    fields = {"message_lost_at": soon} | fields
    return Run.objects.create(function=function, stage=WHOLE, data=data, **fields)


KINDS = st.sampled_from(["lease", "cancelled", "hopeless", "retry", "message", "unknown"])


@pytest.mark.usefixtures("_poison")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(KINDS, st.booleans()), min_size=1, max_size=12))
def test_whatever_raises_over_one_run_the_others_go_on(drawn):
    Run.objects.all().delete()
    SetAside.objects.all().delete()
    armed("DISABLE")
    made = [(stuck_run(kind, poisoned=poisoned), poisoned) for kind, poisoned in drawn]
    armed("ENABLE")

    sweep()

    for run, poisoned in made:
        before = (run.state, run.next_attempt_at, run.message_lost_at)
        run.refresh_from_db()
        changed = (run.state, run.next_attempt_at, run.message_lost_at) != before
        assert changed is not poisoned
    poisoned_ids = {run.pk for run, poisoned in made if poisoned}
    assert set(SetAside.objects.values_list("item_id", flat=True)) == poisoned_ids


@pytest.mark.usefixtures("_poison")
def test_what_was_set_aside_is_tried_again_and_forgotten_once_it_goes_through():
    run = stuck_run("message", poisoned=True)
    armed("ENABLE")
    sweep()
    sweep()
    assert SetAside.objects.get().attempts == 1  # Not at once.
    SetAside.objects.update(next_attempt_at=timezone.now())
    sweep()
    row = SetAside.objects.get()
    assert (row.attempts, "poisoned" in row.error) == (2, True)
    armed("DISABLE")

    SetAside.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=1))
    sweep()

    run.refresh_from_db()
    assert run.requeues == 1
    assert not SetAside.objects.exists()


@pytest.fixture
def subscriber():
    """A second function on the greeting's event, whose start raises until it is told not to."""
    refusing = [True]

    def start(event, function):
        if refusing:
            raise RuntimeError("cannot start\0")
        return [Run.objects.create(function=function.name, stage=WHOLE, event=event)]

    stage = Stage("bad", lambda claim: None)
    registry.add_function(Function("a.bad", GREETING, {WHOLE: stage}, start=start))
    yield refusing
    del registry.functions["a.bad"]


def test_a_subscriber_that_cannot_start_costs_the_other_nothing(subscriber):
    event = events.send(GREETING, DATA)

    assert event.runs.get().function == GREET
    row = SetAside.objects.get()
    assert (row.item_id, row.function) == (event.pk, "a.bad")
    assert "cannot start" in row.error
    assert Event.objects.get().dispatched_at is not None


def test_a_subscriber_is_started_once_it_can(subscriber):
    event = events.send(GREETING, DATA)
    subscriber.clear()
    SetAside.objects.update(next_attempt_at=timezone.now())

    assert sweep().redispatched == 1

    assert set(event.runs.values_list("function", flat=True)) == {GREET, "a.bad"}
    assert not SetAside.objects.exists()


def test_an_event_whose_dispatch_raises_holds_up_no_younger_one(monkeypatch):
    past = timezone.now() - timedelta(minutes=1)
    made = [Event.objects.create(name=GREETING, data=DATA, created_at=past) for _ in range(3)]
    dispatch = dispatch_module.dispatch

    def dispatch_or_raise(event):
        if event == made[0]:
            raise KeyError("no such thing")
        return dispatch(event)

    monkeypatch.setattr("videos.durable.dispatch.dispatch", dispatch_or_raise)
    waiting = Run.objects.create(function=GREET, stage=WHOLE, data=DATA)

    sweep()

    assert Run.objects.filter(event__in=made[1:]).count() == 2
    waiting.refresh_from_db()
    assert waiting.state == "queued"
    assert SetAside.objects.get().item_id == made[0].pk


@pytest.mark.parametrize("table", ["videos_event", "videos_run", "videos_worker", "videos_call"])
def test_a_column_that_this_process_does_not_know_costs_only_what_needs_it(table):
    """As while newer code is deployed: rows that lack it cannot be inserted."""
    lost = stuck_run("message", poisoned=False)
    dead = stuck_run("lease", poisoned=False)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD COLUMN unknown int NOT NULL DEFAULT 1")
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN unknown DROP DEFAULT")
    try:
        sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN unknown")

    lost.refresh_from_db()
    dead.refresh_from_db()
    assert (lost.requeues, dead.deaths, dead.state) == (1, 1, "queued")


def test_a_row_that_cannot_even_be_read_costs_only_itself():
    """Postgres keeps times that Python has no number for."""
    bad, dead = stuck_run("lease", poisoned=False), stuck_run("lease", poisoned=False)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE videos_run SET deadline_at = '33715-08-22'::timestamptz WHERE id = %s", [bad.pk]
        )

    sweep()

    dead.refresh_from_db()
    assert (dead.state, dead.deaths) == ("queued", 1)
    assert SetAside.objects.get().item_id == bad.pk


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e12, -5.0])
def test_whatever_time_an_error_names_is_a_time(seconds):
    error = RateLimited("later", retry_after_s=seconds)

    assert 0 <= error.retry_after_s <= MAX_WAIT_S


def test_a_pause_of_the_sweep_begins_no_new_row_of_attempts(monkeypatch):
    past = timezone.now() - timedelta(minutes=1)
    event = Event.objects.create(name=GREETING, data=DATA, created_at=past)
    SetAside.objects.create(kind="event", item_id=event.pk, attempts=9, next_attempt_at=past)

    def refuse(event_id):
        raise KeyError("still not")

    monkeypatch.setattr("videos.durable.dispatch.dispatch", refuse)
    sweep()
    assert SetAside.objects.get().attempts == 10
    monkeypatch.undo()
    SetAside.objects.update(next_attempt_at=past)
    sweep()
    sweep()

    assert event.runs.exists()
    assert not SetAside.objects.exists()


def test_what_was_asked_for_before_is_not_done_after_what_was_asked_for_since(upload):
    video = upload()
    late = Event.objects.create(
        name="video/cancel.requested",
        data={"video_id": str(video.pk), "creator_id": video.creator_id},
        video_id=video.pk,
        created_at=timezone.now() - timedelta(minutes=5),
    )

    sweep()

    late.refresh_from_db()
    assert late.dispatched_at is not None
    assert video.runs.get().state != "cancelled"


def test_a_column_that_is_not_there_yet_costs_only_what_reads_it():
    """As while this code runs before its migration."""
    lost = stuck_run("message", poisoned=False)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE videos_call RENAME COLUMN sent_at TO sent")
    try:
        sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE videos_call RENAME COLUMN sent TO sent_at")

    lost.refresh_from_db()
    assert lost.requeues == 1


def test_a_failure_handler_that_cannot_start_does_not_keep_its_run_from_failing(monkeypatch):
    run = stuck_run("hopeless", poisoned=False)
    bad = Function("h" * 107, None, {WHOLE: Stage("h", lambda claim: None)})
    monkeypatch.setitem(registry.functions, bad.name, bad)
    monkeypatch.setitem(
        registry.functions, GREET, Function(GREET, None, bad.stages, failure_handler=bad.name)
    )

    sweep()

    run.refresh_from_db()
    assert (run.state, run.error_code) == ("failed", "worker_lost")
    assert SetAside.objects.get().kind == "run"


def test_a_stage_that_its_function_lost_ends_only_its_own_run():
    gone = stuck_run("message", poisoned=False)
    Run.objects.filter(pk=gone.pk).update(stage="renamed", requeues=12)
    other = stuck_run("message", poisoned=False)

    assert sweep().requeued == 1

    gone.refresh_from_db()
    other.refresh_from_db()
    assert (gone.state, gone.error_code, "renamed" in gone.error) == ("failed", "misconfigured", 1)
    assert other.requeues == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "n" * 101},
        {"queue": "q" * 101},
        {"queue": "no spaces"},
        {"stages": {}},
        {"stages": {"s" * 33: Stage("a", lambda claim: None)}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, retries=-1)}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, retries="3")}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, deadline_s=float("nan"))}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, deadline_s=float("inf"))}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, deadline_s=1e12)}},
        {"stages": {WHOLE: Stage("a", lambda claim: None, deadline_s=Decimal(60))}},
    ],
)
def test_what_can_never_work_is_refused_when_it_is_registered(wrong):
    fields = {"name": "a.b", "event": None, "stages": {WHOLE: Stage("a", lambda claim: None)}}

    with pytest.raises(ValueError, match=r"a\.b|nnn"):
        registry.add_function(Function(**(fields | wrong)))
    assert "a.b" not in registry.functions


def test_a_function_that_cannot_be_called_or_has_a_handler_with_a_long_name_is_refused():
    def alone(run):
        pass

    def f(run, data):
        pass

    async def later(run, data):
        run.step("never", print)

    def lazily(run, data):
        yield run.step("never", print)

    for callee in (later, lazily):
        with pytest.raises(ValueError, match="coroutine or a generator"):
            events.function(GREETING, data=registry.types[GREETING].data)(callee)
    with pytest.raises(ValueError, match="alone"):
        events.function(GREETING, data=registry.types[GREETING].data)(alone)
    f.__name__ = "f" * 90
    with pytest.raises(ValueError, match="100"):
        events.function(GREETING, data=registry.types[GREETING].data, on_failure=f)(f)
    assert not any("fff" in name or "alone" in name for name in registry.functions)
