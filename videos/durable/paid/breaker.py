"""The circuit breaker of each service: no calls to one that is down, and no retry spent on it.

Closed, it counts failures in a row, over all processes. Open, it refuses calls until a time;
then one call at a time tries whether the service is back. Any answer closes it, but the refusal of
a key: that opens it at once. The run that met it fails; others wait, and all go on once it works.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable import runs
from videos.durable.models import Pause, Run
from videos.durable.paid.models import Breaker
from videos.exceptions import (
    ChronosError,
    CircuitOpen,
    ServicePaused,
    ServiceUnavailable,
    Unauthorized,
)
from videos.text.storable import error_message

Failure = TypeVar("Failure", bound=BaseException)

#: How long one call may try alone; a worker that dies with it must not keep the breaker open.
_PROBE = timedelta(seconds=15)
#: Seconds until a run looks again while another's call tries.
_PROBE_LOOK_S = 2.0
#: The same while a service is paused; who resumes it has them look at once.
_PAUSE_LOOK_S = 30.0
#: What holds calls of a service back, and for how many seconds more; by one query.
_HELD = f"""
    SELECT 'paused', extract(epoch FROM until - now())::float8
    FROM {Pause._meta.db_table}
    WHERE kind = 'service' AND name = %s AND (until IS NULL OR until > now())
    UNION ALL
    SELECT 'open', extract(epoch FROM open_until - now())::float8
    FROM {Breaker._meta.db_table} WHERE service = %s AND open_until IS NOT NULL
    """
_CLOSE = f"""
    UPDATE {Breaker._meta.db_table}
    SET failures = 0, openings = 0, last_error = '', open_until = NULL, probing_until = NULL,
        opened_at = NULL, refused = false
    WHERE service = %s AND failures > 0
    """


def acquire_call(service: str) -> bool:
    """Let a call pass; return whether it may only be one, which probes an open breaker.

    Raises:
        CircuitOpen: if the service has failed too often in a row.
        ServicePaused: if an operator holds its calls back.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [service, service])
        held: dict[str, float | None] = dict(cursor.fetchall())
    if "paused" in held:
        raise ServicePaused(
            f"Calls of the {service} service are paused.",
            retry_after_s=min(held["paused"] or _PAUSE_LOOK_S, _PAUSE_LOOK_S),
            service=service,
        )
    left_s = held.get("open")
    breaker = Breaker.objects.filter(service=service).first() if left_s is not None else None
    if left_s is None or breaker is None:
        return False
    if left_s <= 0:
        if _take_probe(service):
            return True
        left_s = _PROBE_LOOK_S
    raise _circuit_open(breaker, left_s)


def record(service: str, error: Failure | None) -> Failure | ChronosError | None:
    """Record how a call ended; return the error, or the one that an open breaker makes of it.

    Once the breaker is open, the service's failures are nobody's fault in the run.
    """
    if isinstance(error, Unauthorized):
        return _record_refusal(service, error)
    if error is None or (isinstance(error, ChronosError) and error.http_status in range(200, 500)):
        _record_answer(service)
        return error
    if not isinstance(error, ServiceUnavailable):
        return error
    breaker = _record_failure(service, error_message(error))
    if breaker.open_until is None or _is_out_of_patience(breaker):
        return error
    return _circuit_open(breaker, _open_s(breaker.openings))


def _record_refusal(service: str, error: Unauthorized) -> ChronosError:
    """Open the breaker; only the run that met the first refusal fails by it."""
    with transaction.atomic():
        breaker = _locked(service)
        was_refused = breaker.refused
        breaker.failures += 1
        breaker.openings += 1
        breaker.opened_at = breaker.opened_at or Now()
        breaker.open_until = Now() + timedelta(seconds=_open_s(breaker.openings))
        breaker.probing_until = None
        breaker.last_error = error_message(error)
        breaker.refused = True
        breaker.save()
    if was_refused:
        return _circuit_open(breaker, _open_s(breaker.openings))
    error.service = service
    return error


def probe_refused(service: str, works: Callable[[], bool]) -> bool:
    """Ask `works` whether a refused key does by now, where no run waits that would try it.

    Return whether the breaker is closed.
    """
    is_tried = Run.objects.filter(waits_behind=service, state=Run.State.WAITING).exists()
    if is_tried or not _take_probe(service):
        return False
    if works():
        _record_answer(service)
        return True
    with transaction.atomic():
        breaker = _locked(service)
        breaker.openings += 1
        breaker.open_until = Now() + timedelta(seconds=_open_s(breaker.openings))
        breaker.probing_until = None
        breaker.save()
    return False


def _is_out_of_patience(breaker: Breaker) -> bool:
    """Whether the outage lasts so long that the input may be to blame, of which nothing is left.

    Only what is tried then, one call at a time, spends a retry.
    """
    past = Now() - timedelta(seconds=conf().breaker_patience_s)
    return Breaker.objects.filter(pk=breaker.pk, opened_at__lt=past).exists()


def _take_probe(service: str) -> bool:
    # Of two runs that look at once, the second finds the probe taken, and waits for its outcome.
    idle = Q(probing_until__isnull=True) | Q(probing_until__lt=Now())
    due = Breaker.objects.filter(idle, service=service, open_until__lte=Now())
    return bool(due.update(probing_until=Now() + _PROBE))


def _record_answer(service: str) -> None:
    """Close the breaker, if need be, and let the runs go on that wait behind it.

    Two statements, each committed by itself: whoever books a call locks its run first, then
    the breaker.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, [service])
        was_troubled = cursor.rowcount
    if was_troubled:
        runs.wake(Run.objects.filter(waits_behind=service))


def _locked(service: str) -> Breaker:
    Breaker.objects.get_or_create(service=service)
    return Breaker.objects.select_for_update().get(service=service)


def _record_failure(service: str, message: str) -> Breaker:
    with transaction.atomic():
        breaker = _locked(service)
        breaker.failures += 1
        breaker.last_error = message
        # Calls that left before it opened fail together, and open it once.
        probed = breaker.probing_until is not None
        if probed or (breaker.open_until is None and breaker.failures >= conf().breaker_failures):
            if not breaker.openings:
                breaker.opened_at = Now()
            breaker.openings += 1
            breaker.open_until = Now() + timedelta(seconds=_open_s(breaker.openings))
            breaker.probing_until = None
        breaker.save()
    return breaker


def _open_s(openings: int) -> float:
    doubled: float = conf().breaker_open_s * 2.0 ** (openings - 1)
    return min(doubled, conf().breaker_open_cap_s)


def _circuit_open(breaker: Breaker, left_s: float) -> CircuitOpen:
    return CircuitOpen(
        f"The {breaker.service} service failed {breaker.failures} times in a row, last with: "
        f"{breaker.last_error} The run goes on by itself once the service is back.",
        retry_after_s=left_s,
        service=breaker.service,
    )
