"""How messages reach idle workers, and how many a process holds."""

from contextlib import contextmanager

import dramatiq
import pytest

from tests.conftest import eventually
from videos import events
from videos.models import Run

pytestmark = pytest.mark.django_db(transaction=True)

#: Longer than the tests wait: whoever only looks again after it, is late.
IDLE_MS = 8_000


@contextmanager
def idle_worker():
    broker = dramatiq.get_broker()
    before = list(broker.middleware)
    worker = dramatiq.Worker(broker, worker_timeout=IDLE_MS, worker_threads=2)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=20_000)
        broker.middleware = before


def greet(tmp_path):
    data = {"name": "Ada", "diary": str(tmp_path / "diary")}
    return events.send("letters/greeting.requested", data).runs.get()


def is_completed(run):
    return Run.objects.filter(pk=run.pk, state="completed").exists()


@pytest.fixture(autouse=True)
def _blocks_for_long(monkeypatch):
    monkeypatch.setattr("videos.brokers._BLOCKS_S", 40.0)


def test_an_idle_worker_that_is_asked_to_end_does_so():
    with idle_worker() as worker:
        consumers = list(worker.consumers.values())

    assert not any(consumer.is_alive() for consumer in consumers)


def test_an_idle_worker_is_woken(tmp_path):
    with idle_worker():
        first = greet(tmp_path)
        eventually(lambda: is_completed(first), timeout_s=4)
        second = greet(tmp_path)
        eventually(lambda: is_completed(second), timeout_s=4)


def test_where_redis_may_not_block_workers_poll(tmp_path, caplog):
    broker = dramatiq.get_broker()
    broker.client.execute_command("ACL", "SETUSER", "default", "-blpop")
    try:
        with idle_worker():
            run = greet(tmp_path)
            eventually(lambda: is_completed(run), timeout_s=4)
            assert not broker.can_block
    finally:
        broker.client.execute_command("ACL", "SETUSER", "default", "+blpop")
        broker.can_block = True
    assert "polling" in caplog.text


def test_idle_threads_end_as_soon_as_they_are_to():
    with idle_worker() as worker:
        eventually(lambda: len(worker.work_queue.not_empty._waiters) == worker.worker_threads)
        worker.stop(timeout=IDLE_MS // 2)

        assert not any(thread.is_alive() for thread in worker.workers)


def test_a_process_holds_no_more_messages_than_it_has_threads():
    broker = dramatiq.get_broker()
    actor = next(iter(broker.actors.values()))
    for queue in ("default", "bulk"):
        for _ in range(3):
            broker.enqueue(actor.message("none").copy(queue_name=queue))
    consumers = [broker.consume(queue, prefetch=2, timeout=20) for queue in ("default", "bulk")]
    first, second = next(consumers[0]), next(consumers[0])

    assert first is not None
    assert second is not None
    assert next(consumers[1]) is None

    consumers[0].ack(first)
    assert next(consumers[1]) is not None
    for consumer in consumers:
        consumer.close()
    broker._consumers.clear()
