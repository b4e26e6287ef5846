"""The quarantine of runs that kill their workers: what dies then is a process of their own.

A run under which two workers died, with no step finished in between, may be to blame: its stage
is executed in a child process, which claims the run and renews the lease by itself. Only when
that child dies is the run `worker_lost`.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from uuid import UUID

from django.db import connections, transaction
from dramatiq.middleware import SkipMessage

from videos.durable import runs
from videos.durable.claims import lock_run
from videos.durable.messages import enqueue
from videos.durable.models import Run
from videos.durable.transactions import after_commit
from videos.exceptions import WorkerLost
from videos.local import sandbox

logger = logging.getLogger(__name__)

#: Deaths of workers under a run from which on it must not share a process with others.
MAX_DEATHS = 2
#: A child has loaded Django and claimed its run by then, or died.
_CLAIMS_WITHIN = timedelta(seconds=12)
#: Exit code of a child whose run is not to go on to the next stage now.
SKIPPED = 75

_children: set[subprocess.Popen[bytes]] = set()
_children_lock = threading.Lock()
_stopping = threading.Event()


def execute(run_id: UUID, stage: str, worker_id: UUID | None) -> None:
    """Execute a stage in a child process, and wait for it.

    Raises:
        SkipMessage: unless the stage was finished.
    """
    before = Run.objects.get(pk=run_id)
    if not runs.reserve(run_id, stage, worker_id, _CLAIMS_WITHIN):
        raise SkipMessage(f"run {run_id} has a process of its own already")
    connections.close_all()
    code = _run_child([str(run_id), stage, *([str(worker_id)] if worker_id else [])])
    if code == 0:
        return
    if code != SKIPPED:
        _fail_or_requeue(before, stage, code)
    raise SkipMessage(f"run {run_id} did not finish {stage}")


def stop() -> None:
    """Ask the children of this process to hand their runs over."""
    _stopping.set()
    with _children_lock:
        for child in _children:
            child.send_signal(signal.SIGTERM)


def _run_child(arguments: list[str]) -> int:
    program = [sys.executable, "-m", "django", "perform_stage", *arguments]
    child = subprocess.Popen(sandbox.command(program), stdin=subprocess.DEVNULL)
    with _children_lock:
        _children.add(child)
    if _stopping.is_set():
        child.send_signal(signal.SIGTERM)
    try:
        return child.wait()
    finally:
        with _children_lock:
            _children.discard(child)


def _fail_or_requeue(before: Run, stage: str, code: int) -> None:
    """Fail the run that the child had claimed; one that it never claimed is sent again."""
    with transaction.atomic():
        run = lock_run(before, state=Run.State.RUNNING, stage=stage, token=before.token + 1)
        if run is None:
            return
        if _stopping.is_set():
            handed = runs.hand_over(run)
            after_commit(enqueue, handed)
            return
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        logger.error("Run %s ended its own process %s in %s.", run.pk, how, stage)
        runs.fail(
            run,
            WorkerLost.code,
            f"The stage {stage} ended its worker {MAX_DEATHS} times, and then, alone, a process of "
            f"its own ({how}). Most often it needs more memory than there is: look at the "
            "worker's log, then reprocess the video.",
        )
