"""Room by queue: what no worker serves takes nothing from the others, and says so."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.conftest import eventually
from videos.durable import admission
from videos.durable.capacity import Capacity
from videos.durable.registry import WHOLE
from videos.durable.sweep import sweep
from videos.models import Run, Worker

pytestmark = pytest.mark.django_db(transaction=True)

GREET = "tests.letters.greet"


def live(threads, *queues):
    return Worker.objects.create(
        pid=1, host="h", threads=threads, queues=list(queues), last_seen=timezone.now()
    )


def runs(count, queue, state="waiting", **fields):
    made = [
        Run(function=GREET, stage=WHOLE, queue=queue, state=state, **fields) for _ in range(count)
    ]
    return Run.objects.bulk_create(made)


def states(queue):
    return sorted(Run.objects.filter(queue=queue).values_list("state", flat=True))


def test_a_queue_has_room_for_what_its_own_workers_can_do():
    live(4, "default", "bulk")
    live(2, "mail")
    runs(3, "mail", state="queued")

    capacity = Capacity()

    assert {queue: capacity.room(queue) for queue in ("default", "bulk", "mail", "gone")} == {
        "default": 8,
        "bulk": 8,
        "mail": 1,
        "gone": 0,
    }


def test_queues_that_share_a_worker_share_its_threads():
    live(4, "default", "mail")
    live(2, "mail", "video")
    runs(9, "default", state="queued")

    capacity = Capacity()

    assert (capacity.room("default"), capacity.room("mail"), capacity.room("video")) == (-1, 3, 3)


def test_a_worker_that_names_no_queue_serves_them_all():
    live(3)

    capacity = Capacity()

    assert (capacity.is_served("any"), capacity.room("any")) == (True, 6)


def test_a_queue_that_nobody_serves_takes_no_room_and_is_told():
    live(2, "default")
    runs(50, "gone")
    runs(50, "gone", state="queued", message_lost_at=timezone.now() + timedelta(hours=1))
    runs(3, "default")

    admission.admit()

    assert states("default") == ["queued"] * 3
    waiting = Run.objects.filter(queue="gone", state="waiting")
    assert {run.waiting_for["reason"] for run in waiting} == {"worker"}
    assert waiting.count() == 50


def test_what_was_admitted_to_a_queue_that_nobody_serves_gives_its_slot_back(creator, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 2
    live(2, "default")
    past = timezone.now() - timedelta(seconds=1)
    mine = {"creator": creator, "holds_slot": True}
    runs(1, "gone", state="queued", message_lost_at=past, **mine)
    runs(1, "gone", state="retrying", next_attempt_at=past, **mine)
    runs(2, "default", creator=creator)

    swept = [sweep().requeued for _ in range(3)]

    assert swept == [0, 0, 0]
    assert states("default") == ["queued", "queued"]
    assert states("gone") == ["waiting", "waiting"]
    assert not Run.objects.filter(queue="gone", holds_slot=True).exists()


def test_no_message_is_sent_again_while_no_worker_lives(broker):
    runs(3, "default", state="queued", message_lost_at=timezone.now() - timedelta(seconds=1))

    assert [sweep().requeued for _ in range(3)] == [0, 0, 0]
    assert broker.do_qsize("default") == 0


@pytest.fixture
def broker():
    import dramatiq

    return dramatiq.get_broker()


@pytest.fixture
def later(worker):
    """A queue that this test alone knows."""
    worker.broker.declare_queue("later")
    yield "later"
    for names in (worker.broker.queues, worker.broker.delay_queues):
        names -= {name for name in names if name.startswith("later")}


def test_runs_of_a_queue_go_on_once_it_is_served(later):
    (run,) = runs(1, later, data={"name": "Ada", "diary": "/dev/null"})
    eventually(lambda: Worker.objects.exists())
    Worker.objects.update(queues=["default"])
    admission.admit()
    assert Run.objects.get().waiting_for["reason"] == "worker"

    Worker.objects.update(queues=["default", later])

    eventually(lambda: Run.objects.get(pk=run.pk).state == "completed")


def test_bulk_work_yields_to_no_upload_that_its_workers_do_not_serve():
    live(1, "bulk")
    live(1, "other")
    kept = timezone.now() + timedelta(minutes=1)
    (bulk,) = runs(1, "bulk", state="running", lease_until=kept)
    runs(5, "default", waiting_reason="capacity")

    admission.yield_if_preempted(bulk)


def test_bulk_work_is_not_admitted_to_threads_that_do_not_serve_it():
    live(8, "default")
    both = live(8, "default", "bulk")
    kept = timezone.now() + timedelta(minutes=1)
    runs(8, "default", state="running", lease_until=kept, worker=both)
    runs(2, "bulk")

    capacity = Capacity()

    assert (capacity.idle("bulk"), capacity.has_idle_thread("bulk")) == (0, False)
    assert capacity.has_idle_thread("default")
    assert admission.admit() == 0


def test_a_run_that_was_never_begun_counts_among_no_starts(creator, settings):
    settings.CHRONOS_CREATOR_STARTS_PER_MINUTE = 1
    live(2, "default")
    past = timezone.now() - timedelta(seconds=1)
    fields = {"holds_slot": True, "released_at": timezone.now(), "message_lost_at": past}
    (run,) = runs(1, "gone", state="queued", creator=creator, **fields)
    sweep()
    Run.objects.filter(pk=run.pk).update(queue="default")

    assert admission.admit() == 1
