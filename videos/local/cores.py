"""The cores of this machine, handed out one by one to programs that fill one each.

No more such programs run at once than there are cores: more would only take longer each. One whose
threads stay together takes less CPU time (ffmpeg 8, a minute of AAC: 120 ms in place of 200): they
pass each other small things all the time, and waking a thread on another core is slow.
"""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from videos.local.semaphores import acquired


class Cores:
    """Cores that nobody holds; None stands for one where the system cannot say which."""

    def __init__(self, numbers: Sequence[int | None]) -> None:
        self.free = deque(numbers)
        self.count = threading.BoundedSemaphore(len(numbers))


@cache
def _cores() -> Cores:
    """Return those of this machine; each of its processes begins with another."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores([None] * (os.cpu_count() or 1))
    numbers = list(os.sched_getaffinity(0))
    random.shuffle(numbers)
    return Cores(numbers)


@contextmanager
def own_core(check: Callable[[], object] = lambda: None) -> Iterator[int | None]:
    """Hold a core in the block, and yield its number.

    `check` is called every half second while all are held; what it raises ends the waiting.
    """
    cores = _cores()
    with acquired(cores.count, check):
        core = cores.free.popleft()
        try:
            yield core
        finally:
            cores.free.append(core)
