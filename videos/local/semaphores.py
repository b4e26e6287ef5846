"""Waiting for a semaphore without being deaf to a cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHECK_S = 0.5


@contextmanager
def acquired(
    semaphore: threading.Semaphore, check: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold the semaphore in the block.

    `check` is called every half second while others do; what it raises ends the waiting.
    """
    while not semaphore.acquire(timeout=_CHECK_S):
        check()
    try:
        yield
    finally:
        semaphore.release()
