"""The cores of this machine, handed out one by one to programs that fill one each.

No more such programs run at once than there are cores: more would only take longer each. One whose
threads stay together takes less CPU time (ffmpeg 8, a minute of AAC: 120 ms in place of 200): they
pass each other small things all the time, and waking a thread on another core is slow.
"""

from __future__ import annotations

import os
import queue
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_CHECK_S = 0.5


@cache
def _free() -> queue.SimpleQueue[int | None]:
    """Return the cores that nobody holds; None stands for one where the system cannot say which.

    Each process of a machine begins with another.
    """
    if hasattr(os, "sched_getaffinity"):
        cores: list[int | None] = list(os.sched_getaffinity(0))
        random.shuffle(cores)
    else:
        cores = [None] * (os.cpu_count() or 1)
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for core in cores:
        free.put(core)
    return free


@contextmanager
def own_core(check: Callable[[], object] = lambda: None) -> Iterator[int | None]:
    """Hold a core in the block, and yield its number.

    `check` is called every half second while all are held; what it raises ends the waiting.
    """
    free = _free()
    while True:
        try:
            core = free.get(timeout=_CHECK_S)
            break
        except queue.Empty:
            check()
    try:
        yield core
    finally:
        free.put(core)
