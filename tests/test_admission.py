"""Who may run: limits that hold, reasons that are told, fairness."""

import threading

import pytest
from django.db import connection
from django.utils import timezone

from videos.durable import admission
from videos.exceptions import Yielded
from videos.models import Run, Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def creators(django_user_model):
    return [django_user_model.objects.create_user(name) for name in ("ada", "bob", "cyd")]


def wait_runs(creator, count, **fields):
    return Run.objects.bulk_create(
        Run(function="process_video", stage="transcribe", creator=creator, **fields)
        for _ in range(count)
    )


def live_worker(threads=8):
    Worker.objects.create(pid=1, host="h", threads=threads, last_seen=timezone.now())


def states():
    return sorted(Run.objects.values_list("creator__username", "state", "waiting_reason"))


def test_without_a_worker_runs_wait_for_capacity(creators):
    wait_runs(creators[0], 2)

    assert admission.admit() == 0
    assert states() == [("ada", "waiting", "capacity")] * 2


def test_a_creator_has_so_many_runs_at_once(creators, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 2
    live_worker()
    wait_runs(creators[0], 3)

    assert admission.admit() == 2
    assert states() == [("ada", "queued", "")] * 2 + [("ada", "waiting", "concurrency")]
    assert admission.admit() == 0


def test_a_creator_has_so_many_starts_a_minute_and_is_told_the_time(creators, settings):
    settings.CHRONOS_CREATOR_STARTS_PER_MINUTE = 1
    live_worker()
    wait_runs(creators[0], 2)

    assert admission.admit() == 1
    waiting = Run.objects.get(state="waiting")
    assert waiting.waiting_for["reason"] == "rate"
    wait_s = (waiting.next_attempt_at - timezone.now()).total_seconds()
    assert 55 < wait_s <= 60


def test_all_runs_of_a_creator_are_told_the_same_reason(creators, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 1
    live_worker()
    wait_runs(creators[0], 20)

    admission.admit()

    assert states() == [("ada", "queued", "")] + [("ada", "waiting", "concurrency")] * 19


def test_no_creator_takes_all_the_room(creators):
    live_worker(threads=2)
    wait_runs(creators[0], 10)
    wait_runs(creators[1], 1)
    wait_runs(creators[2], 1)

    assert admission.admit() == 4
    queued = Run.objects.filter(state="queued").values_list("creator__username", flat=True)
    assert sorted(queued) == ["ada", "ada", "bob", "cyd"]


@pytest.mark.parametrize("served", [True, False])
def test_one_upload_waits_for_no_long_queue(creators, settings, served):
    settings.CHRONOS_CREATOR_CONCURRENCY = 1
    ada, bob, cyd = creators
    live_worker(threads=1)
    if served:
        wait_runs(ada, 1)
        wait_runs(bob, 1)
        assert admission.admit() == 2
        Run.objects.update(state="completed", holds_slot=False)
    wait_runs(ada, 10)
    wait_runs(bob, 10)
    wait_runs(cyd, 1)

    admission.admit()

    queued = Run.objects.filter(state="queued").values_list("creator__username", flat=True)
    assert sorted(queued) == ["ada", "cyd"]


def test_bulk_work_has_a_pool_of_its_own(creators, settings):
    settings.CHRONOS_BULK_CONCURRENCY = 2
    settings.CHRONOS_CREATOR_CONCURRENCY = 1
    live_worker(threads=8)
    wait_runs(creators[0], 5, queue="bulk")
    wait_runs(creators[0], 1)

    assert admission.admit() == 3
    assert Run.objects.filter(queue="bulk", state="queued").count() == 2
    assert Run.objects.filter(queue="default", state="queued").count() == 1


def test_bulk_work_takes_only_threads_that_nothing_else_wants(creators):
    live_worker(threads=4)
    wait_runs(creators[0], 3)
    wait_runs(creators[0], 5, queue="bulk")

    admission.admit()
    assert Run.objects.filter(queue="bulk", state="queued").count() == 1
    bulk = Run.objects.get(queue="bulk", state="queued")
    Run.objects.filter(state="queued").update(state="running", lease_until=timezone.now())
    admission.yield_if_preempted(bulk)

    wait_runs(creators[1], 1, state="queued")
    with pytest.raises(Yielded):
        admission.yield_if_preempted(bulk)


def test_the_limit_of_a_creator_holds_when_many_release_at_once(creators, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 3
    live_worker(threads=64)
    wait_runs(creators[0], 30)
    barrier = threading.Barrier(8)

    def release():
        barrier.wait()
        admission.admit()
        connection.close()

    threads = [threading.Thread(target=release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Run.objects.filter(holds_slot=True).count() == 3


def test_priority_goes_first(creators, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 1
    live_worker()
    wait_runs(creators[0], 1)
    (urgent,) = wait_runs(creators[0], 1, priority=5)

    admission.admit()

    assert Run.objects.get(state="queued").pk == urgent.pk


def test_the_cost_of_a_release_does_not_grow_with_what_waits(creators, django_assert_num_queries):
    live_worker(threads=1)
    wait_runs(creators[0], 5)
    admission.admit()
    with django_assert_num_queries(14, exact=False) as few:
        admission.admit()
    wait_runs(creators[0], 200)
    admission.admit()

    with django_assert_num_queries(len(few)):
        admission.admit()
