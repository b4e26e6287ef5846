"""What the engine does at this moment, in numbers: for whoever watches it, person or machine.

A constant number of queries, each bounded by what is at work or by a window of time: none reads
a history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import dramatiq
from django.db import connection
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.utils import timezone

from videos.durable import pauses
from videos.durable.capacity import Capacity, live_workers
from videos.durable.models import ACTIVE_STATES, Event, Pause, Run, SetAside, Step, Worker
from videos.durable.paid import budgets
from videos.durable.paid.models import Breaker, Call

#: What the rates are counted over, and the steps of their curves.
WINDOW = timedelta(hours=1)
BUCKET_S = 60
_FINISHED = f"""
    SELECT state, extract(epoch FROM now() - finished_at)::int / {BUCKET_S} AS ago, count(*)
    FROM {Run._meta.db_table}
    WHERE state IN ('completed', 'failed', 'cancelled', 'replaced')
        AND finished_at > now() - %s::interval
    GROUP BY state, ago
    """
#: `left`: failures after which nothing else was begun for their video.
_FAILURES = f"""
    SELECT error_code, count(*), count(*) FILTER (WHERE is_left), count(video_id),
        max(finished_at), (array_agg(error ORDER BY is_left DESC, finished_at DESC))[1]
    FROM (
        SELECT *, video_id IS NULL OR NOT EXISTS (
            SELECT FROM {Run._meta.db_table} AS later
            WHERE later.video_id = run.video_id AND later.created_at > run.created_at
        ) AS is_left
        FROM {Run._meta.db_table} AS run
        WHERE finished_at > now() - %s::interval AND state = 'failed'
    ) AS failed
    GROUP BY error_code ORDER BY count(*) DESC, error_code
    """
#: Each run's steps by their index, however few runs have most of them.
_STEPS = f"""
    SELECT step.stage, count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY extract(epoch FROM step.finished_at - step.started_at)
    )
    FROM {Run._meta.db_table} AS run CROSS JOIN LATERAL (
        SELECT stage, started_at, finished_at FROM {Step._meta.db_table}
        WHERE run_id = run.id AND finished_at IS NOT NULL OFFSET 0
    ) AS step
    WHERE run.state = 'completed' AND run.finished_at > now() - %s::interval
    GROUP BY step.stage ORDER BY step.stage
    """
#: What a sweep would have found by now: leases that ran out, events that nobody dispatched.
_LAG = f"""
    SELECT greatest(
        (SELECT extract(epoch FROM now() - min(lease_until)) FROM {Run._meta.db_table}
            WHERE state = 'running'),
        (SELECT extract(epoch FROM now() - min(created_at)) FROM {Event._meta.db_table}
            WHERE dispatched_at IS NULL),
        0
    )::float8
    WHERE %s::interval IS NOT NULL
    """
_CALLS = f"""
    SELECT service, state, count(*), sum(cost_usd),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY extract(epoch FROM settled_at - sent_at)
        ) FILTER (WHERE settled_at IS NOT NULL)
    FROM {Call._meta.db_table} WHERE sent_at > now() - %s::interval GROUP BY service, state
    """


@dataclass(frozen=True)
class Active:
    """Runs that are alike: where, in which state, why they wait, how many, since when."""

    queue: str
    state: str
    #: Why they wait (`Run.Waiting`); empty for those that do not.
    reason: str
    count: int
    oldest: datetime


@dataclass(frozen=True)
class Calls:
    """The calls of one service in the window that ended alike."""

    service: str
    state: str
    count: int
    cost_usd: float
    #: Seconds until they were answered, or not: the median and the 95th percentile; None: open.
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True)
class Steps:
    """The steps of one stage that belong to runs which completed in the window."""

    stage: str
    count: int
    #: Seconds from their first begin to their end, pauses between attempts included.
    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class Failure:
    """The runs that failed in the window by one cause."""

    error_code: str
    count: int
    #: How many of them nobody has tried again.
    left: int
    #: How many of them are about a video.
    of_videos: int
    latest: datetime
    #: One of them.
    error: str


@dataclass(frozen=True)
class WorkerState:
    """A worker, whether its heartbeat is fresh, and how many of its threads have a run."""

    worker: Worker
    is_live: bool
    #: Whether somebody asked it to take nothing more for a while.
    is_paused: bool
    busy: int


class Gauges:
    """The numbers, each asked for once, when it is first wanted."""

    def __init__(self) -> None:
        self.at = timezone.now()

    @cached_property
    def active(self) -> list[Active]:
        """Runs that are not over, by queue, state and reason."""
        rows = Run.objects.filter(state__in=ACTIVE_STATES).order_by("queue", "state")
        grouped = rows.values("queue", "state", "waiting_reason").annotate(
            count=Count("id"), oldest=Min("created_at")
        )
        return [
            Active(
                row["queue"],
                row["state"],
                _reason(row["state"], row["waiting_reason"]),
                row["count"],
                row["oldest"],
            )
            for row in grouped
        ]

    @cached_property
    def capacity(self) -> Capacity:
        """What the live workers have room for."""
        return Capacity()

    @cached_property
    def workers(self) -> list[WorkerState]:
        """The workers that live, and those that died and were not noticed yet, with their runs."""
        live = Exists(live_workers().filter(pk=OuterRef("pk")))
        rows = Worker.objects.annotate(
            is_live=live,
            is_paused=Exists(pauses.of_worker(OuterRef("pk"))),
            busy=Count("runs", filter=Q(runs__state=Run.State.RUNNING)),
        )
        return [
            WorkerState(row, row.is_live, row.is_paused, row.busy)
            for row in rows.order_by("started_at")
        ]

    @cached_property
    def threads(self) -> dict[str, int]:
        """Threads of live workers: "all", "busy" with a run, and "stuck" in one given up."""
        live = [state for state in self.workers if state.is_live]
        return {
            "all": sum(state.worker.threads for state in live),
            "busy": sum(state.busy for state in live),
            "stuck": sum(state.worker.stuck_threads for state in live),
        }

    @cached_property
    def queues(self) -> list[str]:
        """Queues that are declared, or hold runs."""
        declared = dramatiq.get_broker().get_declared_queues()
        return sorted({*declared, *(row.queue for row in self.active)})

    @cached_property
    def unserved(self) -> dict[str, int]:
        """Queues whose runs no live worker takes, and how many wait there."""
        waiting: Counter[str] = Counter()
        for row in self.active:
            if row.state != Run.State.RUNNING and not self.capacity.is_served(row.queue):
                waiting[row.queue] += row.count
        return dict(waiting)

    @cached_property
    def breakers(self) -> list[Breaker]:
        """Services that failed last time."""
        return list(Breaker.objects.filter(failures__gt=0).order_by("service"))

    @cached_property
    def budgets(self) -> list[budgets.Spent]:
        """What was spent this month of each budget."""
        return budgets.all_spent()

    @cached_property
    def pauses(self) -> list[Pause]:
        """What operators hold back."""
        return list(pauses.in_force().select_related("creator").order_by("since"))

    @cached_property
    def set_aside(self) -> int:
        """Events and runs that no worker could handle."""
        return SetAside.objects.count()

    @cached_property
    def finished(self) -> dict[str, list[int]]:
        """Runs that ended in the window, by state: how many a minute, the oldest first."""
        buckets = int(WINDOW.total_seconds()) // BUCKET_S
        curves: dict[str, list[int]] = {}
        for state, ago, count in _rows(_FINISHED):
            curve = curves.setdefault(state, [0] * buckets)
            if 0 <= ago < buckets:
                curve[buckets - 1 - ago] += count
        return curves

    @cached_property
    def failures(self) -> list[Failure]:
        """Causes of failure in the window, the most frequent first."""
        return [Failure(*row) for row in _rows(_FAILURES)]

    @cached_property
    def calls(self) -> list[Calls]:
        """Calls of the window, by service and state."""
        return [
            Calls(service, state, count, float(cost), *(seconds or (None, None)))
            for service, state, count, cost, seconds in _rows(_CALLS)
        ]

    @cached_property
    def steps(self) -> list[Steps]:
        """Steps of the window's completed runs, by stage."""
        return [Steps(stage, count, *seconds) for stage, count, seconds in _rows(_STEPS)]

    @cached_property
    def sweep_lag_s(self) -> float:
        """Seconds for which something waits that a sweep repairs; 0 while sweeps keep up."""
        ((seconds,),) = _rows(_LAG)
        return float(seconds)

    def depth(self, queue: str, *states: str) -> int:
        """Return how many runs of a queue are in any of these states."""
        return sum(row.count for row in self.active if row.queue == queue and row.state in states)

    def oldest_s(self, rows: Iterable[Active]) -> float:
        """Return for how many seconds the oldest of these runs is there."""
        oldest = min((row.oldest for row in rows), default=self.at)
        return max((self.at - oldest).total_seconds(), 0.0)


def _reason(state: str, reason: str) -> str:
    if state != Run.State.WAITING:
        return ""
    return reason or Run.Waiting.CAPACITY.value


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, [f"{WINDOW.total_seconds()} seconds"])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
