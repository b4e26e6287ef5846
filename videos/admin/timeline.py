"""A run on an axis of time: how long it waited, and when each step worked. Drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from videos.models import Call, Run, Step

#: Units of the drawing, whose width is the time that the run took.
WIDTH, ROW_HEIGHT = 1_000, 30
_MAX_ROWS = 200
_LEAST_WIDTH = 3


@dataclass(frozen=True)
class Bar:
    """A stretch of time: from where to where, what it was, and what a pointer on it is told."""

    x: float
    width: float
    kind: str
    note: str


@dataclass(frozen=True)
class Row:
    """One line of the drawing."""

    y: int
    label: str
    bars: Sequence[Bar]
    #: The step that it shows; none for the run's own line.
    step: Step | None = None
    duration_s: float | None = None

    @property
    def middle(self) -> int:
        """Where its text stands."""
        return self.y + ROW_HEIGHT - 9


@dataclass(frozen=True)
class Timeline:
    """The drawing, the seconds that it spans, and how many steps were left out."""

    rows: Sequence[Row]
    seconds: float
    left_out: int
    height: int


def timeline(run: Run) -> Timeline:
    """Return a run's line, then each step's with its calls: two queries, whatever the run did."""
    steps = list(Step.objects.filter(run=run).order_by("started_at", "id")[: _MAX_ROWS + 1])
    shown = steps[:_MAX_ROWS]
    calls: dict[object, list[Call]] = {}
    if run.video_id is not None:  # By whose index they are found.
        for call in Call.objects.filter(video_id=run.video_id, run_id=run.pk).order_by("sent_at"):
            calls.setdefault(call.step_id, []).append(call)
    now = timezone.now()
    begin = run.created_at
    end = max([run.finished_at or now, *(step.finished_at or begin for step in shown)])
    scale = _Scale(begin, end)
    rows = [Row(0, "the run", _of_run(run, scale, end))]
    for number, step in enumerate(shown, start=1):
        bars = [] if step.started_at is None else [_of_step(step, scale, end)]
        bars += [_of_call(call, scale, end) for call in calls.get(step.pk, ())]
        took = (
            ((step.finished_at or now) - step.started_at).total_seconds()
            if step.started_at
            else None
        )
        rows.append(Row(number * ROW_HEIGHT, f"{step.stage}: {step.key}", bars, step, took))
    return Timeline(rows, scale.seconds, len(steps) - len(shown), len(rows) * ROW_HEIGHT)


class _Scale:
    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin = begin
        self.seconds = max((end - begin).total_seconds(), 0.001)

    def bar(self, begin: datetime, end: datetime, kind: str, note: str) -> Bar:
        at, until = (
            WIDTH * max((moment - self._begin).total_seconds(), 0.0) / self.seconds
            for moment in (begin, end)
        )
        at = min(at, WIDTH - _LEAST_WIDTH)
        width = max(until - at, _LEAST_WIDTH)
        took = max((end - begin).total_seconds(), 0.0)
        return Bar(round(at, 1), round(width, 1), kind, f"{note}, {_shown(took)}")


def _of_run(run: Run, scale: _Scale, end: datetime) -> list[Bar]:
    bars = [scale.bar(run.created_at, run.started_at or end, "waiting", "waited")]
    if run.started_at is not None:
        bars.append(scale.bar(run.started_at, run.finished_at or end, run.state, run.state))
    return bars


def _of_step(step: Step, scale: _Scale, end: datetime) -> Bar:
    assert step.started_at is not None
    tried = f"{step.state}, attempt {step.attempts}"
    note = f"{tried}: {step.error}" if step.error else tried
    return scale.bar(step.started_at, step.finished_at or end, step.state, note)


def _of_call(call: Call, scale: _Scale, end: datetime) -> Bar:
    note = f"{call.service} call, {call.state}, ${call.cost_usd:.5f}"
    return scale.bar(call.sent_at, call.settled_at or end, f"call {call.state}", note)


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
