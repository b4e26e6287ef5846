"""Pauses between attempts, computed by the database: equal on every machine's clock."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Least, Now, Power

_MAX_DOUBLINGS = 10


def next_attempt_at(first_s: float, attempts: F | Value) -> CombinedExpression:
    """Return the time of the next attempt: `first_s` seconds from now, doubled by each attempt.

    Ten times at most: 2 s grow to about half an hour.
    """
    first = Value(timedelta(seconds=first_s), DurationField())
    pause = first * Power(2, Least(attempts, _MAX_DOUBLINGS))
    return Now() + ExpressionWrapper(pause, DurationField())
