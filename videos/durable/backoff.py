"""Pauses between attempts: of steps here, of what the sweep tries again in the database."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Least, Now, Power

_MAX_DOUBLINGS = 10
#: A delay is lengthened by up to this share, so that runs that failed together part ways.
_JITTER = 0.1


def delay_s(failures: int, first_s: float, cap_s: float, chance: float) -> float:
    """Return the seconds until a step's next attempt: 1, 2, 4, … times the first, to the cap.

    `failures` counts the attempts that failed, at least 1; `chance` is a number from 0 to 1.
    """
    delay: float = min(first_s * 2.0 ** (failures - 1), cap_s)
    return delay * (1 + _JITTER * chance)


def next_attempt_at(first_s: float, attempts: F | Value) -> CombinedExpression:
    """Return the time of the next attempt: `first_s` seconds from now, doubled by each attempt.

    It is the database's time, equal on every machine's clock.

    Ten times at most: 2 s grow to about half an hour.
    """
    first = Value(timedelta(seconds=first_s), DurationField())
    pause = first * Power(2, Least(attempts, _MAX_DOUBLINGS))
    return Now() + ExpressionWrapper(pause, DurationField())
