"""Waiting for one of a few places without being deaf to a cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHECK_S = 0.5


@contextmanager
def turn(places: threading.Semaphore, check: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold one of the places in the block.

    `check` is called every half second while all are taken; what it raises ends the waiting.
    """
    while not places.acquire(timeout=_CHECK_S):
        check()
    try:
        yield
    finally:
        places.release()
