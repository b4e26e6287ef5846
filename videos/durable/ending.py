"""Ending a worker's process: well, and by force where that takes too long."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.db import connection
from django.db.utils import Error as DatabaseError

from videos.conf import conf
from videos.durable import claims, runs
from videos.durable.messages import enqueue
from videos.exceptions import Signal

logger = logging.getLogger(__name__)

#: Seconds within which a worker that was asked to end has ended, beside CHRONOS_DRAIN_S.
_END_WITHIN_S = 9.0
_HAND_OVER_WITHIN_S = 5.0
_EXIT_DEAD_THREAD = 70
#: Whether this process has asked itself to end.
_is_asked = threading.Event()


def heed_its_own_signal() -> None:
    """Have a process that ends by itself be ended once more without harm; in its main thread.

    Where several processes have one master, the first that has ended has Dramatiq end the others.
    One of them that is just ending would be killed by that: it is the second signal.
    """
    ending: Any = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _unless_second(ending))


def _unless_second(
    ending: Callable[[int, FrameType | None], object],
) -> Callable[[int, FrameType | None], None]:
    received = 0

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received != 2 or not _is_asked.is_set():
            ending(number, frame)

    return heed


def end_process() -> None:
    """Ask Dramatiq to end this process well, and insist after a while."""
    insist_on_end(_EXIT_DEAD_THREAD)
    _is_asked.set()
    os.kill(os.getpid(), signal.SIGTERM)


def insist_on_end(code: int) -> None:
    """End the process by force once it had time to end well; its runs go to others at once.

    What does not look at its claim, such as a long call of a function of another app, cannot be
    ended in any other way.
    """
    seconds = conf().drain_s + _END_WITHIN_S

    def insist() -> None:
        logger.warning("The worker did not end within %s s: its runs go to others.", seconds)
        handing = threading.Thread(target=_hand_over_all, daemon=True)
        handing.start()
        # A database that does not answer must not keep the process.
        handing.join(_HAND_OVER_WITHIN_S)
        os._exit(code)

    timer = threading.Timer(seconds, insist)
    timer.daemon = True
    timer.start()


def _hand_over_all() -> None:
    """Give the runs of this process to others; those that somebody has locked go to the sweep."""
    for claim in claims.live_claims():
        try:
            with claim.guard(skip=True) as run:
                handed = runs.hand_over(run)
            enqueue(handed)
        except (DatabaseError, Signal) as error:
            logger.warning("Run %s is left to the sweep: %s", claim.run.pk, error)
    connection.close()
