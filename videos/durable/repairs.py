"""What the sweep repairs inside its own transaction: how each is found, and what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import priorities, runs, set_aside
from videos.durable.capacity import Capacity
from videos.durable.claims import lock_run
from videos.durable.messages import sendable_stages
from videos.durable.models import Run, Worker
from videos.durable.paid import ledger
from videos.durable.registry import registry
from videos.exceptions import Misconfigured, WorkerLost

#: Deaths under one run, with no step finished in between, that end it. After two it is in
#: quarantine, where its end is told by its worker; here are those that took their worker along.
_HOPELESS_DEATHS = 10
#: Messages of a run that nobody knows how to execute: about two minutes, in which a deployment
#: may still bring the workers that know.
_MAX_REQUEUES_UNKNOWN = 12
_WORKER_GONE = timedelta(minutes=1)
_MAX_AT_ONCE = 500


@dataclass(frozen=True)
class Repair:
    """What may be found, and how it is repaired; returns the runs that are to be enqueued."""

    found: Callable[[], QuerySet[Any]]
    repair: Callable[[], list[Run]]


def _expired() -> QuerySet[Run]:
    late = Run.objects.filter(state=Run.State.RUNNING, lease_until__lt=Now())
    return set_aside.due_runs(late)


def _repair_leases() -> list[Run]:
    """Take runs from dead workers; end those that were cancelled, or kill worker after worker."""
    hopeless = Q(cancel_requested=True) | Q(deaths__gte=_HOPELESS_DEATHS - 1)
    set_aside.each_run(_expired().filter(hopeless), _end_if_hopeless, limit=_MAX_AT_ONCE)
    return set_aside.each_run(_expired(), _take_over, limit=_MAX_AT_ONCE)


def _end_if_hopeless(expired: list[Run]) -> list[Run]:
    for found in expired:
        # A worker that wakes up and renews its lease first keeps the run.
        run = lock_run(found, skip=True, state=Run.State.RUNNING, token=found.token)
        if run is None or not (run.cancel_requested or _is_death(run, _database_started_at())):
            continue
        ledger.forget_calls([run.pk])
        if run.cancel_requested:
            runs.cancel(run)
        else:
            runs.fail(
                run,
                WorkerLost.code,
                f"The worker died {_HOPELESS_DEATHS} times in the stage {run.stage}, each time "
                "before it finished a step. Most often it ran out of memory: look at its log, then "
                "reprocess the video.",
            )
    return []


def _take_over(expired: list[Run]) -> list[Run]:
    started_at = _database_started_at()
    deaths = [run for run in expired if _is_death(run, started_at)]
    others = [run for run in expired if run not in deaths]
    return _if_served(
        runs.take_from_worker(others, deaths=0) + runs.take_from_worker(deaths, deaths=1)
    )


def _if_served(queued: list[Run]) -> list[Run]:
    """Return the runs that are to be enqueued; have those wait whose queue no worker serves."""
    capacity = Capacity()
    if not capacity.has_workers:
        return queued
    served = [run for run in queued if capacity.is_served(run.queue)]
    unserved = [run for run in queued if run not in served]
    if unserved:
        runs.revoke_admission(unserved)
    return served


def _is_death(run: Run, database_started_at: datetime) -> bool:
    """Whether a lease ran out for another reason than a restart of Postgres."""
    assert run.lease_until is not None
    return run.lease_until >= database_started_at + timedelta(seconds=conf().lease_s)


def _database_started_at() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_postmaster_start_time()")
        started_at: datetime = cursor.fetchone()[0]
    return started_at


def _without_message() -> QuerySet[Run]:
    silent = Run.objects.filter(state=Run.State.QUEUED, message_lost_at__lt=Now())
    return set_aside.due_runs(silent)


def _repair_messages() -> list[Run]:
    """Queue runs without news again, unless all threads of their queue are busy: they just wait.

    Without any worker they wait as well: one more message for each would only fill the broker.
    """
    _end_unknown()
    capacity = Capacity()
    if not capacity.has_workers:
        return []
    taken: list[Run] = []
    for queue in _queues(_without_message()):
        if capacity.has_idle_thread(queue) or not capacity.is_served(queue):
            taken += set_aside.each_run(
                _without_message().filter(queue=queue),
                lambda each: _if_served(runs.requeue(each, requeues=1)),
                limit=_MAX_AT_ONCE,
            )
    return taken


def _end_unknown() -> None:
    """End the runs of functions or stages that no installed app has: nobody will execute them."""
    known = Q(pk__in=[])
    for function in registry.functions.values():
        known |= Q(function=function.name, stage__in=sendable_stages(function))
    lost = _without_message().filter(requeues__gte=_MAX_REQUEUES_UNKNOWN)
    set_aside.each_run(lost.exclude(known), _end_if_unknown, limit=_MAX_AT_ONCE)


def _end_if_unknown(lost: list[Run]) -> list[Run]:
    for found in lost:
        # A worker that knows it after all, and claims it first, keeps the run.
        run = lock_run(found, skip=True, state=Run.State.QUEUED)
        if run is not None:
            what = f"the stage {run.stage} of " if run.function in registry.functions else ""
            runs.fail(
                run,
                Misconfigured.code,
                f"No installed app has {what}the function {run.function}. If it was renamed, send "
                "the event again; if workers run older code than the web server, restart them "
                "first.",
            )
    return []


def _due() -> QuerySet[Run]:
    """Retries whose time has come, and started runs that waited for a service or a disk."""
    started = Q(state=Run.State.RETRYING) | Q(state=Run.State.WAITING, holds_slot=True)
    return set_aside.due_runs(Run.objects.filter(started, next_attempt_at__lte=Now()))


def _requeue_due() -> list[Run]:
    """Take those that are due longest, as far as live workers have room for them.

    Those of a queue that no worker serves give their slots up, and wait for admission.
    """
    capacity = Capacity()
    taken: list[Run] = []
    # Bulk work takes what the others leave of the threads that they share.
    for queue in sorted(_queues(_due()), key=lambda name: name == priorities.BULK):
        room = max(capacity.room(queue), 0)
        if not capacity.has_workers or not capacity.is_served(queue):
            room = _MAX_AT_ONCE
        due = _due().filter(queue=queue).order_by("next_attempt_at")
        queued = set_aside.each_run(
            due, lambda each: _if_served(runs.requeue(each)), limit=min(room, _MAX_AT_ONCE)
        )
        for _ in queued:
            capacity.take(queue)
        taken += queued
    return taken


def _queues(found: QuerySet[Run]) -> list[str]:
    return list(found.order_by("queue").values_list("queue", flat=True).distinct())


def _gone_workers() -> QuerySet[Worker]:
    return Worker.objects.filter(last_seen__lt=Now() - _WORKER_GONE)


def _remove_gone_workers() -> list[Run]:
    _gone_workers().delete()
    return []


def _forget_orphaned_calls() -> list[Run]:
    ledger.forget_orphans()
    return []


def _forget_recovered() -> list[Run]:
    set_aside.recovered().delete()
    return []


#: In their order: a run that was taken from its worker is not looked at again.
REPAIRS = {
    "leases": Repair(_expired, _repair_leases),
    "due": Repair(_due, _requeue_due),
    "messages": Repair(_without_message, _repair_messages),
    "workers": Repair(_gone_workers, _remove_gone_workers),
    "calls": Repair(ledger.orphans, _forget_orphaned_calls),
    "recovered": Repair(set_aside.recovered, _forget_recovered),
}
