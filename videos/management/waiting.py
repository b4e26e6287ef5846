"""Waiting for videos: with a bar on a terminal, and a worker where none lives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.db import close_old_connections
from tqdm import tqdm

from videos.conf import conf
from videos.durable.capacity import live_slots
from videos.local import sandbox
from videos.management.reporting import Failed
from videos.models import Run, Video

_LOOK_S = 0.2
_WORKER_LOOK_S = 1.0
#: Seconds that a child has to end, beside those for its calls in flight.
_STOP_WITHIN_S = 15
_ENDED = {Video.Status.COMPLETED, Video.Status.FAILED, Video.Status.CANCELLED}


def start_worker(processes: int, threads: int, log: IO[Any] | int) -> subprocess.Popen[bytes]:
    """Start Dramatiq workers in a child that ends with this process, however it ends."""
    return spawn(
        [
            *(sys.executable, "-m", "django", "rundramatiq", "--skip-logging"),
            *("--processes", str(processes), "--threads", str(threads)),
            *("--worker-shutdown-timeout", str(round(1000 * (conf().drain_s + 8)))),
        ],
        log,
    )


def spawn(command: Sequence[str], log: IO[Any] | int) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches us alone."""
    return subprocess.Popen(
        sandbox.command(command, death_signal="SIGTERM"),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a child to end, and insist after a while."""
    process.terminate()
    try:
        process.wait(conf().drain_s + _STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()


class OwnWorker:
    """A worker that is started once no other lives, and ends with the block."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path()
        self._next_look = 0.0

    def __enter__(self) -> OwnWorker:
        self.ensure()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        stop(self._process)
        if not self._log.stat().st_size:
            self._log.unlink()

    def ensure(self) -> None:
        """Look now and then whether a worker lives; one that just ended counts for 10 s.

        Raises:
            Failed: if the worker that was started here has ended by itself.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _WORKER_LOOK_S
        if self._process is not None:
            if (code := self._process.poll()) is not None:
                raise Failed(f"The worker of this command exited with {code}: see {self._log}")
            return
        if live_slots():
            return
        descriptor, name = tempfile.mkstemp(prefix="chronos-worker-", suffix=".log")
        self._log = Path(name)
        self._say(
            "No worker is running: one is started for as long as this command waits. Its log: "
            f"{self._log}"
        )
        self._process = start_worker(1, 8, descriptor)
        os.close(descriptor)


def wait_for(video_ids: Sequence[UUID], look: Callable[[], object] = lambda: None) -> None:
    """Return once every video has ended, showing how far they are on a terminal.

    `look` is called all the while, for whoever keeps a worker alive.
    """
    with tqdm(
        total=100 * len(video_ids),
        disable=not sys.stderr.isatty(),
        bar_format="{l_bar}{bar}| {elapsed} {postfix}",
    ) as bar:
        while True:
            close_old_connections()
            rows = list(
                Video.objects.filter(pk__in=video_ids).values_list("status", "progress", "stage")
            )
            ended = [row for row in rows if row[0] in _ENDED]
            shown = sum(100 if row in ended else 100 * row[1] for row in rows)
            bar.n = round(shown)
            working = next((row[0] for row in rows if row not in ended), "")
            bar.set_postfix_str(f"{len(ended)}/{len(rows)} {working}")
            if len(ended) == len(rows):
                return
            look()
            time.sleep(_LOOK_S)


def wait_for_runs(runs: Sequence[Run], look: Callable[[], object]) -> None:
    """Return once the videos of these runs have ended."""
    wait_for([run.video_id for run in runs if run.video_id], look)
