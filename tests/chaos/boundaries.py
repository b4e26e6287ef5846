"""The boundaries at which a worker can die: found by wrapping what makes something durable.

A boundary is the moment before or after a commit, an enqueue, an ack, an HTTP answer or a change
of files, named by the function of `videos` in which it happens. Nothing here lists them.

A plan says at which boundaries to die: `[{"id", "name", "nth"}]`. The first worker that reaches
one for the nth time writes down when, and what it held, and is gone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from openai import DefaultHttpxClient

from videos.brokers import WakingRedisBroker
from videos.durable import claims

VIDEOS = f"{os.sep}videos{os.sep}"
#: Functions that do something for whoever calls them: their callers name the boundary.
FRAMES = {
    *("claims.guard", "messages.enqueue", "brokers.enqueue", "brokers.wake", "brokers.ack"),
    *("admission.admit", "steps.finish", "steps.begin", "steps.step"),
    *("steps.begin_planned", "steps.planned_step", "steps._begin"),
    *(
        "breaker.record",
        "paid_calls.fail",
        "paid_calls.answer",
        "ledger.fail_call",
        "ledger.answer_call",
    ),
    *("workers.run", "outbox._record", "functions.execute_stage"),
}
WRITES = ("INSERT", "UPDATE", "DELETE")


class Boundaries:
    """Counts what this process passes, and dies where the plan says so."""

    def __init__(self, folder: Path) -> None:
        self._plan_file = folder / "plan.json"
        self._fired = folder / "fired"
        self._passed = (folder / "passed.log").open("a", buffering=1)
        self._planned_at = 0
        self._plan: list[dict[str, Any]] = []
        self._counts: Counter[tuple[int, str]] = Counter()
        self._known: set[str] = set()

    def install(self) -> None:
        """Wrap what makes something durable, in this process."""
        self._wrap(BaseDatabaseWrapper, "commit", "commit")
        self._wrap(CursorWrapper, "execute", "commit", only=_is_autocommit)
        self._wrap(WakingRedisBroker, "enqueue", "enqueue")
        self._wrap(WakingRedisBroker(url="redis://127.0.0.1:1").consumer_class, "ack", "ack")
        self._wrap(DefaultHttpxClient.__mro__[1], "send", "answer")
        for name in ("_save", "delete"):
            self._wrap(FileSystemStorage, name, "file")
        for module, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree")):
            self._wrap(module, name, "file")

    def _wrap(self, owner: Any, name: str, kind: str, only: Any = None) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if only is not None and not only(*args):
                return original(*args, **kwargs)
            site = _site() or (kind != "commit" and "dramatiq")
            if not site:
                return original(*args, **kwargs)
            self._pass(f"{kind} before {site}")
            result = original(*args, **kwargs)
            self._pass(f"{kind} after {site}")
            return result

        setattr(owner, name, wrapped)

    def _pass(self, name: str) -> None:
        self._read_plan()
        self._counts[self._planned_at, name] += 1
        if name not in self._known:
            self._known.add(name)
            self._passed.write(name + "\n")
        for target in self._plan:
            count = self._counts[self._planned_at, name]
            if (target["name"], target["nth"]) == (name, count):
                self._die(target)

    def _read_plan(self) -> None:
        try:
            changed_at = self._plan_file.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_at != self._planned_at:
            self._plan = json.loads(self._plan_file.read_text() or "[]")
            self._planned_at = changed_at

    def _die(self, target: dict[str, Any]) -> None:
        try:
            fired = os.open(f"{self._fired}-{target['id']}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return  # Another worker got here first.
        held = [[str(claim.run.pk), claim.token] for claim in list(claims._live)]
        os.write(fired, json.dumps({"at": time.time(), "held": held, **target}).encode())
        os.kill(os.getpid(), signal.SIGKILL)


def _is_autocommit(cursor: CursorWrapper, sql: Any, *_: Any) -> bool:
    return (
        str(sql).lstrip().startswith(WRITES)
        and not cursor.db.in_atomic_block
        and cursor.db is connections["default"]
    )


def _site() -> str:
    """Return the function of `videos` in which we are, or ""."""
    frame = sys._getframe(2)
    fallback = ""
    while frame is not None:
        code = frame.f_code
        if VIDEOS in code.co_filename and "site-packages" not in code.co_filename:
            name = f"{Path(code.co_filename).stem}.{code.co_name}"
            if name not in FRAMES and not code.co_name.startswith("<"):
                return name
            fallback = fallback or name
        frame = frame.f_back  # type: ignore[assignment]
    return fallback
