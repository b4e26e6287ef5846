"""Is it well? What needs a person first, then what happens, in numbers; fresh without reloading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from videos.access import operated_creators
from videos.admin.filters import error_codes
from videos.admin.shown import when
from videos.conf import conf
from videos.durable.gauges import WINDOW, Active, Gauges
from videos.durable.messages import broker_answers
from videos.exceptions import FileFault
from videos.models import Pause, Run, ServingModel
from videos.usage import month_of, summary

#: A run that waits for longer for want of a thread is told of.
_LONG_WAIT_S = 600.0
_MAX_ERROR_CHARACTERS = 300
_SPENT_FOR_S = 60
#: What may be waited for as long as it takes: a person's own limits.
_CAPACITY = (Run.Waiting.CAPACITY.value, Run.Waiting.WORKER.value)

#: What trying again cannot mend.
_OF_FILES = error_codes(FileFault)

#: Units of a curve's drawing.
CURVE_WIDTH, CURVE_HEIGHT = 600, 60


@dataclass(frozen=True)
class Trouble:
    """Something that needs a person: what, whose fault or what is known, and where to act."""

    what: str
    detail: str
    address: str
    act: str


@dataclass(frozen=True)
class QueueRow:
    """A queue in numbers."""

    name: str
    waiting: int
    queued: int
    running: int
    retrying: int
    oldest_s: float
    is_served: bool


@dataclass(frozen=True)
class Curve:
    """How many a minute, as the points of a line; `most` is its top."""

    name: str
    total: int
    most: int
    points: str


def overview(request: HttpRequest) -> HttpResponse:
    """Show the control room; with `part`, only what is to be replaced on a page that is open."""
    if not is_for(request.user):
        raise PermissionDenied
    return TemplateResponse(request, "admin/videos/control_room.html", context())


def is_for(user: Any) -> bool:
    """Whether somebody sees it: who may see runs, and operates the whole site."""
    return bool(user.has_perm("videos.view_run")) and operated_creators(user) is None


def context() -> dict[str, Any]:
    """Return what the control room shows."""
    gauges = Gauges()
    return {
        "at": gauges.at,
        "troubles": list(_troubles(gauges)),
        "queues": _queues(gauges),
        "waiting": _waiting(gauges),
        "workers": gauges.workers,
        "threads": gauges.threads,
        "curves": [_curve(name, curve) for name, curve in sorted(gauges.finished.items())],
        "curve_size": (CURVE_WIDTH, CURVE_HEIGHT),
        "calls": gauges.calls,
        "breakers": gauges.breakers,
        "budgets": gauges.budgets,
        "spent": cache.get_or_set("chronos:spent", _spent, _SPENT_FOR_S),
        "since": gauges.at - WINDOW,
        "minutes": int(WINDOW.total_seconds()) // 60,
    }


def _troubles(gauges: Gauges) -> Iterator[Trouble]:
    runs = reverse("admin:videos_run_changelist")
    workers = reverse("admin:videos_worker_changelist")
    live = [state for state in gauges.workers if state.is_live]
    if not live:
        yield Trouble(
            "No worker is alive.", "Nothing is processed until one is started.", workers, "Workers"
        )
    if not broker_answers():
        yield Trouble(
            "The broker does not answer.",
            "Runs wait in Postgres, and go on by themselves once it does. See Redis or RabbitMQ.",
            runs,
            "Runs",
        )
    for state in gauges.workers:
        worker = state.worker
        if not state.is_live:
            yield Trouble(
                f"The worker {worker} is silent since {when(worker.last_seen)}.",
                "Its runs go to others by themselves; see why it ended.",
                workers,
                "Workers",
            )
        elif worker.stuck_threads:
            yield Trouble(
                f"{worker.stuck_threads} thread(s) of the worker {worker} are stuck.",
                "They are in runs that were given up. Restart the worker when it suits.",
                workers,
                "Workers",
            )
        elif worker.is_clock_off:
            way = "ahead of" if worker.clock_ahead_s > 0 else "behind"
            yield Trouble(
                f"The clock of {worker.host} is {abs(worker.clock_ahead_s):.0f} s {way} the "
                "database's.",
                "No run is harmed: times are the database's. But the times in that worker's log "
                "are wrong, and what is signed by time may be refused. Set its clock (NTP).",
                workers,
                "Workers",
            )
    if live:
        for queue, count in gauges.unserved.items():
            yield Trouble(
                f"No live worker serves the queue {queue}.",
                f"{count} run(s) wait there.",
                f"{runs}?{urlencode({'queue': queue, 'state__exact': Run.State.WAITING})}",
                "Runs",
            )
    for breaker in gauges.breakers:
        until = f" It is tried again at {when(breaker.open_until)}." if breaker.open_until else ""
        yield Trouble(
            f"The {breaker.service} service failed {breaker.failures} time(s) in a row.",
            f"{breaker.last_error[:_MAX_ERROR_CHARACTERS]}{until}",
            reverse("admin:videos_breaker_changelist"),
            "Breakers",
        )
    for spent in gauges.budgets:
        if spent.is_near:
            yield Trouble(
                f"The {spent.budget} is {'spent' if spent.is_over else 'near its end'}.",
                f"${spent.usd:.2f} of ${spent.budget.month_usd} this month."
                + (" Runs that pay do not start before the next." if spent.is_over else ""),
                reverse("admin:videos_budget_changelist"),
                "Budgets",
            )
    failed = reverse("admin:videos_video_changelist")
    for cause in gauges.failures:
        if not cause.left:
            continue
        where, status = (failed, "status__exact") if cause.of_videos else (runs, "state__exact")
        subject = "video" if cause.of_videos else "run"
        act = "See" if not cause.of_videos or cause.error_code in _OF_FILES else "See and retry"
        query = {"error_code": cause.error_code, status: "failed", "ended": "hour"}
        yield Trouble(
            f"{cause.left} {subject}(s) failed in the last hour: {cause.error_code}.",
            cause.error[:_MAX_ERROR_CHARACTERS],
            f"{where}?{urlencode(query)}",
            act,
        )
    if gauges.set_aside:
        yield Trouble(
            f"{gauges.set_aside} event(s) or run(s) were set aside.",
            "No worker could handle them; they are tried again ever more rarely.",
            reverse("admin:videos_setaside_changelist"),
            "Set aside",
        )
    for row in gauges.active:
        waits_s = gauges.oldest_s([row])
        if row.reason in _CAPACITY and waits_s > _LONG_WAIT_S and live:
            yield Trouble(
                f"A run on the queue {row.queue} waits for {waits_s / 60:.0f} minutes.",
                f"{row.count} wait there for a thread. Start more workers.",
                f"{runs}?{urlencode({'queue': row.queue, 'state__exact': Run.State.WAITING})}",
                "Runs",
            )
    names = {str(state.worker.pk): f"worker {state.worker}" for state in gauges.workers}
    for pause in gauges.pauses:
        ends = f" until {when(pause.until)}" if pause.until else ""
        what = names.get(pause.name, pause) if pause.kind == Pause.Kind.WORKER else pause
        yield Trouble(
            f"Paused{ends}: {what}.",
            f"By {pause.by or 'somebody'} since {when(pause.since)}. {pause.why}".strip(),
            reverse("admin:videos_pause_changelist"),
            "Resume",
        )
    yield from _of_models()


def _of_models() -> Iterator[Trouble]:
    settings, serving = conf(), ServingModel.objects.first()
    configured = (settings.embedding_model, settings.embedding_dimensions)
    if serving is not None and (serving.model, serving.dimensions) != configured:
        yield Trouble(
            f"{serving.model} serves searches, and {settings.embedding_model} is configured.",
            "Until all videos have its vectors, those that wait for them are found by words.",
            reverse("admin:videos_video_changelist"),
            "Videos",
        )


def _queues(gauges: Gauges) -> list[QueueRow]:
    return [
        QueueRow(
            name=queue,
            waiting=gauges.depth(queue, Run.State.WAITING),
            queued=gauges.depth(queue, Run.State.QUEUED),
            running=gauges.depth(queue, Run.State.RUNNING),
            retrying=gauges.depth(queue, Run.State.RETRYING),
            oldest_s=gauges.oldest_s(row for row in gauges.active if row.queue == queue),
            is_served=gauges.capacity.is_served(queue),
        )
        for queue in gauges.queues
    ]


def _waiting(gauges: Gauges) -> list[tuple[str, int, float]]:
    """Return the reasons for which runs wait, how many do, and for how long the oldest."""
    by_reason: dict[str, list[Active]] = {}
    for row in gauges.active:
        if row.reason:
            by_reason.setdefault(row.reason, []).append(row)
    return [
        (reason, sum(row.count for row in rows), gauges.oldest_s(rows))
        for reason, rows in sorted(by_reason.items())
    ]


def _curve(name: str, counts: Sequence[int]) -> Curve:
    most = max(max(counts), 1)
    step = CURVE_WIDTH / max(len(counts) - 1, 1)
    points = " ".join(
        f"{at * step:.0f},{CURVE_HEIGHT - CURVE_HEIGHT * count / most:.0f}"
        for at, count in enumerate(counts)
    )
    return Curve(name, sum(counts), most, points)


def _spent() -> dict[str, Any]:
    """Return what this month's calls cost, and who had most of them; asked once a minute."""
    rows = summary(since=month_of(timezone.now()))
    by_creator: dict[str, float] = defaultdict(float)
    for row in rows:
        by_creator[row["creator"] or "searches"] += row["cost_usd"]
    return {
        "at": timezone.now(),
        "month_usd": sum(by_creator.values()),
        "hours": sum(row["audio_seconds"] for row in rows) / 3600,
        "unknown": sum(row["unknown_calls"] for row in rows),
        "creators": nlargest(5, by_creator.items(), key=itemgetter(1)),
    }
