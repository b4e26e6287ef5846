"""What follows from an error: waiting, another attempt, or the end."""

import inspect
import math

import pytest

from videos import exceptions
from videos.durable.models import Run
from videos.durable.retries import Fail, Retry, RetryPolicy, Wait, decide, waits
from videos.exceptions import ChronosError, CircuitOpen, RateLimited

POLICY = RetryPolicy(retries=3, backoff_s=1, cap_s=60)

#: What follows from the first failure of each kind. Whose fault an error is decides: a file or a
#: setting stays as it is, a service or a machine may be better soon.
FIRST = {
    **dict.fromkeys(
        [
            *("ChronosError", "FileFault", "NoAudio", "UnreadableMedia", "TooLarge", "TooLong"),
            *("MissingFile", "UnreadableCaptions", "ConfigurationFault", "Misconfigured"),
            *("Unauthorized", "OverBudget", "Rejected", "AbsurdResponse", "RunFault", "TimedOut"),
            *("WorkerLost", "FunctionFault", "EventRefused", "UnknownVideo", "UnknownChunk"),
        ],
        Fail,
    ),
    **dict.fromkeys(
        [
            *("ServiceFault", "ServiceUnavailable", "Overdue", "BadResponse", "DecoderLost"),
        ],
        Retry,
    ),
    **dict.fromkeys(
        [
            *("RateLimited", "CircuitOpen", "ServicePaused", "BudgetSpent", "DiskFull"),
            *("SameContent", "Asleep"),
        ],
        Wait,
    ),
}
ERRORS = [
    entry
    for entry in vars(exceptions).values()
    if inspect.isclass(entry) and issubclass(entry, ChronosError)
]


def made(kind):
    """An error of a class, with whatever its class asks for."""
    asked = inspect.signature(kind).parameters.values()
    values = {"service": "embedding", "field": "data", "retry_after_s": 7.0}
    named = {each.name: values[each.name] for each in asked if each.name in values}
    return (
        kind("It failed.", **named)
        if "message" in inspect.signature(kind).parameters
        else kind(*named.values())
    )


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_says_what_follows_from_it(kind):
    error = made(kind)

    following = decide(error, 0, POLICY)

    assert type(following) is FIRST[kind.__name__]
    assert waits(error) == isinstance(following, Wait)
    if isinstance(following, Wait):
        assert (following.delay_s, following.reason in Run.Waiting.values) == (7.0, True)


def test_what_nobody_knows_may_pass():
    assert decide(ValueError("?"), 0, POLICY) == Retry(1)


def test_a_run_waits_behind_the_breaker_that_is_open():
    error = CircuitOpen("down", retry_after_s=5, service="embedding")

    assert decide(error, 9, POLICY) == Wait("service", 5, "embedding")


@pytest.mark.parametrize(
    ("failures", "following"), [(0, Retry(1)), (1, Retry(2)), (2, Retry(4)), (3, Fail())]
)
def test_delays_double_until_there_is_no_retry_left(failures, following):
    assert decide(OSError("?"), failures, POLICY) == following


def test_delays_are_capped_and_jittered_by_a_tenth():
    following = decide(OSError("?"), 8, RetryPolicy(10, 1, 60), chance=1)

    assert following == Retry(pytest.approx(66))


def test_of_several_failures_the_one_that_takes_longest_decides():
    waiting = decide(RateLimited("slow", retry_after_s=1e9), 0, POLICY)

    assert max([Retry(3), waiting, Fail(), Retry(4)], key=lambda each: each.delay_s) == Fail()
    assert max([Retry(3), waiting], key=lambda each: each.delay_s) == waiting
    assert math.isfinite(waiting.delay_s)
