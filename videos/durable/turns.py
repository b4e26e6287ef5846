"""Whose turn it is to look for stuck work, among the processes that live: one looks for all."""

from __future__ import annotations

import time

#: Processes that share the looks; of more, several look at once. So if all but one die, that one
#: looks after so many intervals at the latest, until it learns that it is alone.
_MAX_SHARING = 4


class Turns:
    """The turns of one process. Their times are the database's, so that all agree on them.

    A process that has not heard how many there are takes every turn.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._rank, self._sharing = 0, 1
        self._database_ahead_s = 0.0
        self._reached = -1

    def learn(self, rank: int, count: int, database_time_s: float) -> None:
        """Learn which of the live processes this one is (from 0), and the database's time."""
        self._sharing = max(1, min(count, _MAX_SHARING))
        self._rank = rank % self._sharing
        self._database_ahead_s = database_time_s - time.monotonic()

    def is_ours(self) -> bool:
        """Whether a turn of this process has come since it was asked last."""
        now = int((time.monotonic() + self._database_ahead_s) / self._interval_s)
        before, self._reached = self._reached, now
        if self._sharing == 1 or before < 0 or now - before >= self._sharing:
            return True
        return any(turn % self._sharing == self._rank for turn in range(before + 1, now + 1))
