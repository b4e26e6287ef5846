"""The sweep: finds what got stuck, and sets it going again. Nothing else repairs anything."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, connection, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import admission, dispatch, runs, set_aside, transactions
from videos.durable.capacity import Capacity
from videos.durable.enqueue import enqueue, sendable_stages
from videos.durable.models import Event, Run, SetAside, Worker
from videos.durable.paid import ledger
from videos.durable.registry import registry
from videos.durable.transactions import after_commit, is_lost
from videos.exceptions import Misconfigured, WorkerLost

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
#: Seconds that a sweep waits for a chore, which mostly is done by then.
_CHORE_AWAITED_S = 1.0


@dataclass
class Swept:
    """What one sweep set going again."""

    redispatched: int = 0
    requeued: int = 0
    released: int = 0


def sweep() -> Swept:
    """Look once for stuck work. Only one process sweeps at a time; the others do nothing.

    Whatever raises over one run, one event or one kind of work costs the others nothing.
    """
    try:
        return _sweep(_look)
    except Error as error:
        if is_lost(error):
            raise
        # As while a deployment changes a table: what cannot be looked for costs the rest nothing.
        logger.exception("The sweep could not look at everything at once: it looks one by one.")
        return _sweep(lambda: set(_looked_for()))


def _sweep(look: Callable[[], set[str]]) -> Swept:
    swept = Swept()
    stuck: list[Run] = []
    with transaction.atomic():
        if not transactions.try_hold(transactions.SWEEP):
            return swept
        found = look()
        if not found:
            return swept
        for what, repair in _REPAIRS.items():
            if what in found:
                with set_aside.apart(what), transaction.atomic():
                    stuck += repair() or []
        swept.requeued = len(stuck)
        after_commit(enqueue, stuck)
    if "events" in found:
        with set_aside.apart("events"):
            swept.redispatched = _dispatch_forgotten()
    if "set aside" in found:
        with set_aside.apart("what was set aside"):
            swept.redispatched += _start_again()
    if "waiting" in found or swept.redispatched:
        with set_aside.apart("waiting runs"):
            swept.released = admission.release()
    for name in found & registry.chores.keys():
        _begin_chore(name)
    return swept


_chores: dict[str, threading.Thread] = {}


def _begin_chore(name: str) -> None:
    """Do a chore in a thread of its own, unless it is being done here: a sweep waits for none."""
    under_way = _chores.get(name)
    if under_way is None or not under_way.is_alive():
        _chores[name] = threading.Thread(target=_do_chore, args=[name], daemon=True)
        _chores[name].start()
        _chores[name].join(_CHORE_AWAITED_S)


def _do_chore(name: str) -> None:
    try:
        with set_aside.apart(name):
            registry.chores[name].perform()
    except Error as error:
        logger.warning(
            "The database did not answer, %s are left to the next sweep: %s", name, error
        )
    finally:
        connection.close()


def _look() -> set[str]:
    """Look by one query, over partial indexes, for what there is to do."""
    first, *others = (
        rows.order_by().annotate(found=Value(name)).values_list("found", flat=True)[:1]
        for name, rows in _looked_for().items()
    )
    return set(first.union(*others, all=True))


def _looked_for() -> dict[str, QuerySet[Any]]:
    return {
        "leases": _expired(),
        "due": _retries(),
        "messages": _without_message(),
        "waiting": admission.waiting(),
        "events": _forgotten(),
        "set aside": _set_aside_functions(),
        "workers": _gone(),
        "calls": ledger.orphans(),
        "recovered": set_aside.recovered(),
        **{name: chore.due() for name, chore in registry.chores.items()},
    }


def _forgotten() -> QuerySet[Event]:
    late = Now() - timedelta(seconds=_UNDISPATCHED_S)
    undispatched = Event.objects.filter(dispatched_at__isnull=True, created_at__lt=late)
    return set_aside.due_events(undispatched)


def _set_aside_functions() -> QuerySet[SetAside]:
    """Return the functions whose runs could not be created, and may be tried again."""
    return SetAside.objects.filter(next_attempt_at__lte=Now()).exclude(function="")


def _gone() -> QuerySet[Worker]:
    return Worker.objects.filter(last_seen__lt=Now() - _WORKER_GONE)


def _expired() -> QuerySet[Run]:
    late = Run.objects.filter(state=Run.State.RUNNING, lease_until__lt=Now())
    return set_aside.due_runs(late)


def _without_message() -> QuerySet[Run]:
    silent = Run.objects.filter(state=Run.State.QUEUED, message_lost_at__lt=Now())
    return set_aside.due_runs(silent)


def _dispatch_forgotten() -> int:
    """Dispatch events whose process died between commit and dispatch."""
    ids = list(_forgotten().order_by("created_at").values_list("pk", flat=True)[:_MOST_AT_ONCE])
    for event_id in ids:
        try:
            dispatch.dispatch(event_id)
        except Exception as error:  # Whatever it is, the other events go on.
            if is_lost(error):
                raise
            set_aside.note(SetAside.Kind.EVENT, event_id, error)
    return len(ids)


def _start_again() -> int:
    """Try again to create the runs of functions that were set aside."""
    rows = list(_set_aside_functions().order_by("next_attempt_at")[:_MOST_AT_ONCE])
    return sum(bool(dispatch.start_again(row)) for row in rows)


def _look_after_leases() -> list[Run]:
    _end_hopeless()
    return _leases_run_out()


def _look_after_messages() -> list[Run]:
    _end_unknown()
    return _messages_lost()


def _end_hopeless() -> None:
    """End the runs of dead workers that were cancelled, or that took worker after worker along."""
    hopeless = Q(cancel_requested=True) | Q(deaths__gte=_MOST_DEATHS - 1)
    set_aside.each_run(_expired().filter(hopeless), _end_if_hopeless, most=_MOST_AT_ONCE)


def _end_if_hopeless(expired: list[Run]) -> list[Run]:
    for found in expired:
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
    return []


def _end_unknown() -> None:
    """End the runs of functions or stages that no installed app has: nobody will execute them."""
    known = Q(pk__in=[])
    for function in registry.functions.values():
        known |= Q(function=function.name, stage__in=sendable_stages(function))
    lost = _without_message().filter(requeues__gte=_MOST_REQUEUES_UNKNOWN)
    set_aside.each_run(lost.exclude(known), _end_if_unknown, most=_MOST_AT_ONCE)


def _end_if_unknown(lost: list[Run]) -> list[Run]:
    for found in lost:
        run = runs.locked(found, skip=True, state=Run.State.QUEUED)
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


def _leases_run_out() -> list[Run]:
    """Take runs from dead workers."""
    return set_aside.each_run(_expired(), _take_over, most=_MOST_AT_ONCE)


def _take_over(expired: list[Run]) -> list[Run]:
    started_at = _database_started_at()
    deaths = [run for run in expired if _is_death(run, started_at)]
    others = [run for run in expired if run not in deaths]
    return _requeued(runs.lose_worker(others, deaths=0) + runs.lose_worker(deaths, deaths=1))


def _requeued(queued: list[Run]) -> list[Run]:
    """Return the runs that are to be enqueued; have those wait whose queue no worker serves."""
    capacity = Capacity()
    if not capacity.has_workers:
        return queued
    served = [run for run in queued if capacity.is_served(run.queue)]
    unserved = [run for run in queued if run not in served]
    return served + (runs.revoke_admission(unserved) if unserved else [])


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
    return set_aside.due_runs(Run.objects.filter(started, next_attempt_at__lte=Now()))


def _due() -> list[Run]:
    """Take those that are due longest, as far as live workers have room for them.

    Those of a queue that no worker serves give their slots up, and wait for admission.
    """
    capacity = Capacity()
    taken: list[Run] = []
    # Bulk work takes what the others leave of the threads that they share.
    for queue in sorted(_queues(_retries()), key=lambda name: name == admission.BULK):
        room = max(capacity.room(queue), 0)
        if not capacity.has_workers or not capacity.is_served(queue):
            room = _MOST_AT_ONCE
        due = _retries().filter(queue=queue).order_by("next_attempt_at")
        queued = set_aside.each_run(
            due, lambda each: _requeued(runs.queue_again(each)), most=min(room, _MOST_AT_ONCE)
        )
        for _ in queued:
            capacity.take(queue)
        taken += queued
    return taken


def _messages_lost() -> list[Run]:
    """Take queued runs without news, unless all threads of their queue are busy: they just wait.

    Without any worker they wait as well: one more message for each would only fill the broker.
    """
    capacity = Capacity()
    if not capacity.has_workers:
        return []
    taken: list[Run] = []
    for queue in _queues(_without_message()):
        if capacity.has_idle_thread(queue) or not capacity.is_served(queue):
            taken += set_aside.each_run(
                _without_message().filter(queue=queue),
                lambda each: _requeued(runs.queue_again(each, requeues=1)),
                most=_MOST_AT_ONCE,
            )
    return taken


def _queues(found: QuerySet[Run]) -> list[str]:
    return list(found.order_by("queue").values_list("queue", flat=True).distinct())


def _remove_gone_workers() -> None:
    _gone().delete()


def _forget_orphans() -> None:
    ledger.forget_orphans()


def _forget_recovered() -> None:
    set_aside.recovered().delete()


#: What is repaired inside the sweep's own transaction; each returns the runs to be enqueued.
_REPAIRS: dict[str, Callable[[], list[Run] | None]] = {
    "leases": _look_after_leases,
    "due": _due,
    "messages": _look_after_messages,
    "workers": _remove_gone_workers,
    "calls": _forget_orphans,
    "recovered": _forget_recovered,
}
