"""Traces by OpenTelemetry, where its API is installed and its SDK is set up; else nothing happens.

A trace is what an event started: its id is the event's, without hyphens. Each execution of a stage
is a span, with its steps and their calls below it. Spans bear ids and codes, and no word of what
was said, or of an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.db.models import Q
from django.utils import timezone

from videos.durable.claims import Claim
from videos.durable.models import Run, Step
from videos.durable.paid.models import Call

#: The API, if it is installed (the extra `tracing`).
trace: Any = import_module("opentelemetry.trace") if find_spec("opentelemetry") else None

_MAX_SPANS = 1_000
_HALF_OF_AN_ID = (1 << 64) - 1


@contextmanager
def traced(claim: Claim) -> Iterator[None]:
    """Make a span of a stage that is executed in the block, and of what it did there."""
    if trace is None:
        yield
        return
    tracer = trace.get_tracer("chronos")
    begun, run = timezone.now(), claim.run
    name = f"{run.function} {claim.stage}"
    span = tracer.start_span(name, _context(run), attributes=_of_run(run))
    try:
        yield
    finally:
        if span.is_recording():
            with trace.use_span(span):
                _add_outcome(span, run)
                _add_steps(tracer, run, claim.stage, begun)
        span.end()


def _context(run: Run) -> Any:
    """Return the place in a trace below which a run's spans belong."""
    origin = run.event_id or run.pk
    # What is below an id that no span has is shown at the top.
    above = trace.SpanContext(
        trace_id=origin.int,
        span_id=run.pk.int & _HALF_OF_AN_ID,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(above))


def _of_run(run: Run) -> dict[str, str | int]:
    ids = {"run": run.pk, "video": run.video_id, "event": run.event_id, "creator": run.creator_id}
    known: dict[str, str | int] = {
        f"chronos.{name}.id": str(value) for name, value in ids.items() if value is not None
    }
    return known | {"chronos.queue": run.queue, "chronos.attempt": run.attempt}


def _add_outcome(span: Any, run: Run) -> None:
    """Say what became of the run, which the stage has written down."""
    rows = Run.objects.filter(pk=run.pk).values_list("state", "waiting_reason", "error_code")
    for state, reason, code in rows:
        span.set_attributes({"chronos.state": state, "chronos.waits_for": reason})
        _add_error(span, code)


def _add_steps(tracer: Any, run: Run, stage: str, begun: datetime) -> None:
    """Add the steps and calls that ended since the stage began, with their own times."""
    steps = Step.objects.filter(run=run, stage=stage, finished_at__gte=begun)
    spans = {}
    for step in steps.order_by("started_at")[:_MAX_SPANS]:
        assert step.finished_at is not None
        span = tracer.start_span(
            f"step of {stage}",
            attributes={"chronos.step.id": step.pk, "chronos.attempts": step.attempts},
            start_time=_ns(max(step.started_at or begun, begun)),
        )
        if step.state == Step.State.FAILED:
            _add_error(span, step.state)
        span.end(_ns(step.finished_at))
        spans[step.pk] = span
    theirs = Q(run_id=run.pk, video_id=run.video_id) if run.video_id else Q(step_id__in=spans)
    calls = Call.objects.filter(theirs, sent_at__gte=begun, settled_at__isnull=False)
    for call in calls.order_by("sent_at")[:_MAX_SPANS]:
        step_span = spans.get(call.step_id) if call.step_id else None
        above = step_span or trace.get_current_span()
        span = tracer.start_span(
            f"{call.service} call",
            trace.set_span_in_context(above),
            trace.SpanKind.CLIENT,
            {
                "chronos.call.id": str(call.pk),
                "chronos.model": call.model,
                "chronos.cost_usd": float(call.cost_usd),
            },
            start_time=_ns(call.sent_at),
        )
        if call.state != Call.State.ANSWERED:
            _add_error(span, call.state)
        assert call.settled_at is not None
        span.end(_ns(call.settled_at))


def _add_error(span: Any, code: str) -> None:
    if code:
        span.set_attribute("error.type", code)
        span.set_status(trace.StatusCode.ERROR)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000
