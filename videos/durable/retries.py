"""Whether what failed waits, is tried again, or has failed for good. Pure: others act on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from videos.durable.backoff import delay_s
from videos.exceptions import Asleep, ChronosError, CircuitOpen

#: Retries after the first attempt.
DEFAULT_RETRIES = 3


@dataclass(frozen=True)
class RetryPolicy:
    """How often a step is tried again after its first attempt, and after which pauses."""

    retries: int
    #: Seconds until the first retry; doubled each time, up to the cap.
    backoff_s: float
    cap_s: float


@dataclass(frozen=True)
class Wait:
    """Go on in a while, and count no failure: it is nobody's fault in the run."""

    #: A `Run.Waiting`.
    reason: str
    delay_s: float
    #: The service behind whose open breaker it waits; empty: none.
    behind: str = ""
    #: Whether it counts as running meanwhile, so that it goes on before others start.
    keeps_slot: bool = True


@dataclass(frozen=True)
class Retry:
    """Try again in a while, and count a failure."""

    delay_s: float


@dataclass(frozen=True)
class Fail:
    """It has failed for good: never again."""

    delay_s: float = math.inf


#: Of several failed steps, the one with the longest delay decides for their stage.
Decision = Wait | Retry | Fail


def decide(
    error: BaseException, failures: int, policy: RetryPolicy, chance: float = 0.0
) -> Decision:
    """Return what follows from an error.

    Args:
        error: what was raised; whatever is not a ChronosError may be a passing trouble.
        failures: attempts that failed before this one and were not waited for.
        policy: the limits of the step or stage.
        chance: a random number from 0 to 1, for the jitter.
    """
    if isinstance(error, ChronosError):
        if error.waits_for:
            behind = error.service if isinstance(error, CircuitOpen) else ""
            keeps_slot = not isinstance(error, Asleep)
            return Wait(error.waits_for, error.retry_after_s, behind, keeps_slot)
        if error.permanent:
            return Fail()
    if failures >= policy.retries:
        return Fail()
    return Retry(delay_s(failures + 1, policy.backoff_s, policy.cap_s, chance))


def waits(error: BaseException) -> bool:
    """Whether an error is nobody's fault in the run, which then waits and spends no retry."""
    return isinstance(error, ChronosError) and bool(error.waits_for)
