"""The sweep: finds what got stuck, and sets it going again. Nothing else repairs anything."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Now

from videos import admission, dispatching, ledger, locks, runs, transport
from videos.commits import after_commit
from videos.conf import conf
from videos.exceptions import Misconfigured, WorkerLost
from videos.models import Event, Run, Worker
from videos.registry import registry

logger = logging.getLogger(__name__)

#: Deaths under one run, with no step finished in between, that end it. After two, a child process
#: performs it, and its end is told by its worker; here are those that took their worker along.
_MOST_DEATHS = 10
#: Messages of a run that nobody knows how to perform: about two minutes, in which a deployment
#: may still bring the workers that know.
_MOST_REQUEUES_UNKNOWN = 12
_UNDISPATCHED_S = 1
_WORKER_GONE = timedelta(minutes=1)
_MOST_AT_ONCE = 500


@dataclass
class Swept:
    """What one sweep set going again."""

    redispatched: int = 0
    requeued: int = 0
    released: int = 0


def sweep() -> Swept:
    """Look once for stuck work. Only one process sweeps at a time; the others do nothing."""
    swept = Swept()
    with transaction.atomic():
        if not locks.try_hold(locks.SWEEP):
            return swept
        found = _look()
        if not found:
            return swept
        stuck: list[Run] = []
        if "leases" in found:
            _end_hopeless()
            stuck += _leases_run_out()
        if "due" in found:
            stuck += runs.queue_again(_due())
        if "messages" in found:
            _end_unknown()
            stuck += _messages_lost()
        swept.requeued = len(stuck)
        _gone().delete()
        ledger.forget_orphans()
        after_commit(transport.enqueue, stuck)
    if "events" in found:
        swept.redispatched = _dispatch_forgotten()
    if "waiting" in found:
        swept.released = admission.release()
    return swept


def _look() -> set[str]:
    """Look by one query, over partial indexes, for what there is to do."""
    looked_for: dict[str, QuerySet[Any]] = {
        "leases": _expired(),
        "due": _retries(),
        "messages": _without_message(),
        "waiting": admission.waiting(),
        "events": _forgotten(),
        "workers": _gone(),
        "calls": ledger.orphans(),
    }
    first, *others = (
        rows.order_by().annotate(found=Value(name)).values_list("found", flat=True)[:1]
        for name, rows in looked_for.items()
    )
    return set(first.union(*others, all=True))


def _forgotten() -> QuerySet[Event]:
    late = Now() - timedelta(seconds=_UNDISPATCHED_S)
    return Event.objects.filter(dispatched_at__isnull=True, created_at__lt=late)


def _gone() -> QuerySet[Worker]:
    return Worker.objects.filter(last_seen__lt=Now() - _WORKER_GONE)


def _expired() -> QuerySet[Run]:
    return Run.objects.filter(state=Run.State.RUNNING, lease_until__lt=Now())


def _without_message() -> QuerySet[Run]:
    return Run.objects.filter(state=Run.State.QUEUED, message_lost_at__lt=Now())


def _dispatch_forgotten() -> int:
    """Dispatch events whose process died between commit and dispatch."""
    ids = list(_forgotten().order_by("created_at").values_list("pk", flat=True)[:_MOST_AT_ONCE])
    for event_id in ids:
        dispatching.dispatch(event_id)
    return len(ids)


def _end_hopeless() -> None:
    """End the runs of dead workers that were cancelled, or that took worker after worker along."""
    hopeless = Q(cancel_requested=True) | Q(deaths__gte=_MOST_DEATHS - 1)
    for found in _expired().filter(hopeless)[:_MOST_AT_ONCE]:
        run = runs.locked(found, skip=True, state=Run.State.RUNNING, token=found.token)
        if run is None or not (run.cancel_requested or _is_death(run, _database_started_at())):
            continue
        ledger.forget_calls([run.pk])
        if run.cancel_requested:
            runs.cancel(run)
        else:
            runs.fail(
                run,
                WorkerLost.code,
                f"The worker died {_MOST_DEATHS} times in the stage {run.stage}, each time before "
                "it finished a step. Most often it ran out of memory: look at its log, then "
                "reprocess the video.",
            )


def _end_unknown() -> None:
    """End the runs of functions that no installed app has: nobody will ever perform them."""
    lost = _without_message().filter(requeues__gte=_MOST_REQUEUES_UNKNOWN)
    for found in lost.exclude(function__in=registry.functions)[:_MOST_AT_ONCE]:
        run = runs.locked(found, skip=True, state=Run.State.QUEUED)
        if run is not None:
            runs.fail(
                run,
                Misconfigured.code,
                f"No installed app has the function {run.function}. If it was renamed, send the "
                "event again; if workers run older code than the web server, restart them first.",
            )


def _leases_run_out() -> list[Run]:
    """Take runs from dead workers."""
    expired = list(
        _expired().select_for_update(skip_locked=True, of=("self",), no_key=True)[:_MOST_AT_ONCE]
    )
    if not expired:
        return []
    started_at = _database_started_at()
    deaths = [run for run in expired if _is_death(run, started_at)]
    others = [run for run in expired if run not in deaths]
    return runs.lose_worker(others, deaths=0) + runs.lose_worker(deaths, deaths=1)


def _is_death(run: Run, database_started_at: datetime) -> bool:
    """Whether a lease ran out for another reason than a restart of Postgres."""
    assert run.lease_until is not None
    return run.lease_until >= database_started_at + timedelta(seconds=conf().lease_s)


def _database_started_at() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_postmaster_start_time()")
        started_at: datetime = cursor.fetchone()[0]
    return started_at


def _retries() -> QuerySet[Run]:
    """Retries whose time has come, and started runs that waited for a service or a disk."""
    started = Q(state=Run.State.RETRYING) | Q(state=Run.State.WAITING, holds_slot=True)
    return Run.objects.filter(started, next_attempt_at__lte=Now())


def _due() -> list[Run]:
    """Take those that are due longest, as far as live workers have room for them."""
    most = max(admission.room(), 0) if admission.live_slots() else _MOST_AT_ONCE
    due = _retries().order_by("next_attempt_at").select_for_update(skip_locked=True, of=("self",))
    return list(due[: min(most, _MOST_AT_ONCE)])


def _messages_lost() -> list[Run]:
    """Take queued runs without news, unless all live threads are busy: then they just wait."""
    if admission.live_slots() and not admission.has_idle_thread():
        return []
    lost = _without_message().select_for_update(skip_locked=True, of=("self",))
    return runs.queue_again(lost[:_MOST_AT_ONCE], requeues=1)
