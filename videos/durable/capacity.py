"""What the live workers have room for, queue by queue."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Now

from videos.durable.models import Run, Worker

#: Released runs may be this many times the live worker slots, so that no slot idles.
_RELEASED_PER_SLOT = 2
#: Seconds for which a worker lives on without a heartbeat.
WORKER_FRESH_S = 10
BUSY_STATES = (Run.State.QUEUED, Run.State.RUNNING)
#: The queues of a worker that names none.
_EVERY: frozenset[str] = frozenset()


def live_workers() -> QuerySet[Worker]:
    """Return the workers with a fresh heartbeat."""
    return Worker.objects.filter(last_seen__gt=Now() - timedelta(seconds=WORKER_FRESH_S))


def live_slots() -> int:
    """Return the threads of all live workers that can take runs."""
    return live_workers().aggregate(slots=Sum("threads"))["slots"] or 0


class Capacity:
    """Threads by queue, and what keeps them busy, as they are in Postgres at this moment.

    Queues that share a worker share its threads: they form a pool. A queue has no more room than
    the workers that serve it, nor than what is left of its pool.
    """

    def __init__(self) -> None:
        workers = list(live_workers().values_list("queues", "threads", "pk"))
        self._workers = [(frozenset(queues), threads) for queues, threads, _ in workers]
        self._busy: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        of_worker: Counter[UUID] = Counter()
        rows = Run.objects.filter(state__in=BUSY_STATES).values("queue", "state", "worker_id")
        for row in rows.order_by().annotate(count=Count("id")):
            self._busy[row["queue"]] += row["count"]
            if row["state"] == Run.State.RUNNING:
                self._running[row["queue"]] += row["count"]
                of_worker[row["worker_id"]] += row["count"]
        #: Threads that each worker has left, in the order of `_workers`.
        self._idle = [max(threads - of_worker[pk], 0) for _, threads, pk in workers]

    @property
    def has_workers(self) -> bool:
        """Whether any worker lives at all."""
        return bool(self._workers)

    def is_served(self, queue: str) -> bool:
        """Whether a live worker takes runs of this queue; all its threads may be stuck or busy."""
        return any(_serves(queues, queue) for queues, _ in self._workers)

    def served(self, runs: QuerySet[Run]) -> QuerySet[Run]:
        """Keep the runs whose queue a live worker serves."""
        if any(queues == _EVERY for queues, _ in self._workers):
            return runs
        return runs.filter(queue__in=self._named())

    def unserved(self, runs: QuerySet[Run]) -> QuerySet[Run]:
        """Keep the runs whose queue no live worker serves."""
        if any(queues == _EVERY for queues, _ in self._workers):
            return runs.none()
        return runs.exclude(queue__in=self._named())

    def room(self, queue: str) -> int:
        """Return how many more runs may be admitted before the queue's workers have enough."""
        return min(
            _RELEASED_PER_SLOT * slots - sum(self._busy[each] for each in queues)
            for queues, slots in (({queue}, self._slots(queue)), self._pool(queue))
        )

    def idle(self, queue: str) -> int:
        """Return how many threads of the queue's workers nothing wants now."""
        queued = self._busy[queue] - self._running[queue]
        return min(
            self._idle_threads(queue) - queued,
            *(
                slots - sum(self._busy[each] for each in queues)
                for queues, slots in (({queue}, self._slots(queue)), self._pool(queue))
            ),
        )

    def has_idle_thread(self, queue: str) -> bool:
        """Whether a worker of this queue could begin a run at once, if it had its message."""
        queues, slots = self._pool(queue)
        is_full = sum(self._running[each] for each in queues) >= slots
        return not is_full and self._idle_threads(queue) > 0

    def take(self, queue: str) -> None:
        """Count one more run as admitted."""
        self._busy[queue] += 1

    def sharing(self, queue: str, runs: QuerySet[Run]) -> QuerySet[Run]:
        """Keep the runs of other queues that use the same threads as this one."""
        others = runs.exclude(queue=queue)
        queues, _ = self._pool(queue)
        everything = any(_serves(queues, "") for queues, _ in self._workers)
        return others if everything else others.filter(queue__in=queues)

    def _named(self) -> set[str]:
        return set().union(*(queues for queues, _ in self._workers))

    def _idle_threads(self, queue: str) -> int:
        """Return the threads without a run of the workers that serve a queue."""
        serving = zip(self._workers, self._idle, strict=True)
        return sum(idle for (queues, _), idle in serving if _serves(queues, queue))

    def _slots(self, queue: str) -> int:
        return sum(threads for queues, threads in self._workers if _serves(queues, queue))

    def _pool(self, queue: str) -> tuple[set[str], int]:
        """Return the queues that share threads with this one, itself included, and the threads."""
        pool = {queue}
        left = self._workers
        slots = 0
        while joining := [entry for entry in left if any(_serves(entry[0], q) for q in pool)]:
            left = [entry for entry in left if entry not in joining]
            slots += sum(threads for _, threads in joining)
            for queues, _ in joining:
                pool |= {*self._busy, *self._named()} if queues == _EVERY else queues
        return pool, slots


def _serves(queues: frozenset[str], queue: str) -> bool:
    return queues == _EVERY or queue in queues
