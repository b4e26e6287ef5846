"""The sweep: finds what got stuck, and sets it going again. Nothing else repairs anything."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from videos import admission, dispatching, ledger, runs, transport
from videos.conf import conf
from videos.exceptions import WorkerLost
from videos.models import Event, Run, Worker

logger = logging.getLogger(__name__)

#: Deaths of workers under one run, with no step finished in between, that end it.
_MOST_DEATHS = 3
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
    """Look once for stuck work. Only one process sweeps at a time; the others do nothing.

    The lock belongs to the transaction, so that a pooler in transaction mode keeps it.
    """
    swept = Swept()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [admission.SWEEP_LOCK])
            if not cursor.fetchone()[0]:
                return swept
        stuck = _leases_run_out() + runs.queue_again(_due()) + _messages_lost()
        swept.requeued = len(stuck)
        Worker.objects.filter(last_seen__lt=Now() - _WORKER_GONE).delete()
        ledger.forget_orphans()
        transaction.on_commit(partial(transport.enqueue, stuck), robust=True)
    swept.redispatched = _dispatch_forgotten()
    swept.released = admission.release()
    return swept


def _dispatch_forgotten() -> int:
    """Dispatch events whose process died between commit and dispatch."""
    forgotten = Event.objects.filter(
        dispatched_at__isnull=True,
        created_at__lt=Now() - timedelta(seconds=_UNDISPATCHED_S),
    ).order_by("created_at")
    ids = list(forgotten.values_list("pk", flat=True)[:_MOST_AT_ONCE])
    for event_id in ids:
        dispatching.dispatch(event_id)
    return len(ids)


def _leases_run_out() -> list[Run]:
    """Take runs from dead workers; a run that ended several in a row is ended itself.

    A lease that ran out because Postgres was restarted is no worker's death.
    """
    expired = list(
        Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            state=Run.State.RUNNING, lease_until__lt=Now()
        )[:_MOST_AT_ONCE]
    )
    if not expired:
        return []
    restarted_at = _database_started_at() + timedelta(seconds=conf().lease_s)
    innocent, suspects = [], []
    for run in expired:
        if run.cancel_requested:
            runs.cancel(run)
        elif run.lease_until and run.lease_until < restarted_at:
            innocent.append(run)
        elif run.deaths + 1 >= _MOST_DEATHS:
            runs.fail(
                run,
                WorkerLost.code,
                f"The worker died {_MOST_DEATHS} times in the stage {run.stage}, each time before "
                "it finished a step. Most often it ran out of memory: look at its log, then "
                "reprocess the video.",
            )
        else:
            suspects.append(run)
    return runs.lose_worker(innocent, deaths=0) + runs.lose_worker(suspects, deaths=1)


def _database_started_at() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_postmaster_start_time()")
        started_at: datetime = cursor.fetchone()[0]
    return started_at


def _due() -> list[Run]:
    """Retries whose time has come, and started runs that waited for a service or a disk."""
    started = Q(state=Run.State.RETRYING) | Q(state=Run.State.WAITING, holds_slot=True)
    return list(
        Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            started, next_attempt_at__lte=Now()
        )[:_MOST_AT_ONCE]
    )


def _messages_lost() -> list[Run]:
    lost = Run.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        state=Run.State.QUEUED, message_lost_at__lt=Now()
    )
    return runs.queue_again(lost[:_MOST_AT_ONCE], requeues=1)
