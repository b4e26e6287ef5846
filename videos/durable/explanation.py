"""Why a run does not go on: the reason, with its evidence, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.timezone import localtime

from videos.conf import conf
from videos.durable import pauses
from videos.durable.capacity import live_workers
from videos.durable.models import Event, Run, SetAside, Step
from videos.durable.paid import budgets
from videos.durable.paid.models import Breaker
from videos.durable.priorities import BULK
from videos.durable.registry import registry

_SHOWN_HOLDERS = 20
_MAX_AHEAD = 1_000
_RATE_WINDOW = timedelta(seconds=60)


@dataclass(frozen=True)
class Explanation:
    """A sentence, when the run goes on by itself (None: when there is room), and who is before."""

    sentence: str
    until: datetime | None = None
    #: Runs that have what this one waits for; the first twenty.
    holders: Sequence[Run] = field(default_factory=list)


def explain(run: Run) -> Explanation | None:
    """Say why a run waits; None for one that works, or is over. At most four queries."""
    if run.state == Run.State.QUEUED:
        return Explanation("It was handed to the workers: one of them takes it in a moment.")
    if run.state == Run.State.RETRYING:
        return _of_retry(run)
    if run.state != Run.State.WAITING:
        return None
    why = {
        Run.Waiting.CONCURRENCY: _of_concurrency,
        Run.Waiting.RATE: _of_rate,
        Run.Waiting.WORKER: _of_worker,
        Run.Waiting.SERVICE: _of_service,
        Run.Waiting.BUDGET: _of_budget,
        Run.Waiting.DISK: _of_disk,
        Run.Waiting.PAUSED: _of_pause,
        Run.Waiting.ASLEEP: _of_sleep,
    }.get(Run.Waiting(run.waiting_reason or Run.Waiting.CAPACITY), _of_capacity)
    return why(run)


def why_nothing(event: Event) -> str:
    """Say why an event has started no runs; "" for one that has."""
    if event.runs.exists():
        return ""
    if event.dispatched_at is None:
        return "It was not dispatched yet: a worker's sweep does it within seconds."
    functions = [function.name for function in registry.started_by(event.name)]
    if not functions:
        return "No function is started by events of this name."
    failed = SetAside.objects.filter(kind=SetAside.Kind.EVENT, item_id=event.pk).first()
    if failed is not None:
        return f"{failed.function or 'It'} could not be started, and is tried again: {failed.error}"
    return (
        f"{', '.join(functions)} found nothing to do: what it asks for was under way or done, what "
        "it is about is gone, or its runs are no longer kept."
    )


def _of_retry(run: Run) -> Explanation:
    step = Step.objects.filter(run=run, state=Step.State.RETRYING).order_by("-id").first()
    tried = f"{step.key} failed {step.failures} time(s): {step.error}" if step else run.error
    return Explanation(f"It is tried again. {tried}".strip(), run.next_attempt_at)


def _of_concurrency(run: Run) -> Explanation:
    if run.queue == BULK:
        holders = Run.objects.filter(queue=BULK, holds_slot=True)
        limit, of = conf().bulk_concurrency, "runs of the queue bulk (CHRONOS_BULK_CONCURRENCY)"
    else:
        holders = Run.objects.filter(creator=run.creator_id, holds_slot=True).exclude(queue=BULK)
        limit, of = (
            conf().creator_concurrency,
            f"runs of {run.creator} (CHRONOS_CREATOR_CONCURRENCY)",
        )
    return Explanation(
        f"At most {limit} {of} go on at once, and as many do. {_ahead(run)}",
        holders=_some(holders.filter(holds_slot=True)),
    )


def _of_rate(run: Run) -> Explanation:
    recent = Run.objects.filter(creator=run.creator_id, released_at__gt=Now() - _RATE_WINDOW)
    return Explanation(
        f"At most {conf().creator_starts_per_minute} runs of {run.creator} start in any minute "
        f"(CHRONOS_CREATOR_STARTS_PER_MINUTE). {_ahead(run)}",
        run.next_attempt_at,
        _some(recent.exclude(queue=BULK)),
    )


def _of_worker(run: Run) -> Explanation:
    served = sorted({queue for worker in live_workers() for queue in worker.queues})
    return Explanation(
        f"No live worker serves the queue {run.queue}; served are "
        f"{', '.join(served) or 'none'}. Start a worker for it."
    )


def _of_service(run: Run) -> Explanation:
    breaker = Breaker.objects.filter(service=run.waits_behind).first()
    if breaker is None or not breaker.failures:
        return Explanation("A service asked to be called later.", run.next_attempt_at)
    return Explanation(
        f"The {breaker.service} service failed {breaker.failures} time(s) in a row; it is tried "
        f"again by itself. Last: {breaker.last_error}",
        breaker.open_until or run.next_attempt_at,
    )


def _of_budget(run: Run) -> Explanation:
    if not run.holds_slot and (spent := budgets.of(run.creator_id)) is not None:
        return Explanation(
            f"The {spent.budget} for this month is ${spent.budget.month_usd}, and ${spent.usd:.2f} "
            "are spent. Raise it (manage.py budget, or in the admin), or wait for the next month.",
            budgets.month_ends(timezone.now()),
        )
    return Explanation(
        "The calls of the last minute use up what the service's limit allows "
        "(CHRONOS_TRANSCRIPTION_… and CHRONOS_EMBEDDING_…_PER_MINUTE, CHRONOS_LIMITS).",
        run.next_attempt_at,
    )


def _of_disk(run: Run) -> Explanation:
    return Explanation(
        "The disk of a worker was full: make room in its temporary folder.", run.next_attempt_at
    )


def _of_pause(run: Run) -> Explanation:
    pause = pauses.of(run)
    if pause is None:
        return Explanation(run.error or "It is about to start.", run.next_attempt_at)
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.why}" if pause.why else ""
    what = f"Calls of the {pause.name} service" if run.waits_behind else f"Starts of {pause}"
    return Explanation(
        f"{what} are paused{by} since {localtime(pause.since):%Y-%m-%d %H:%M}{why}. "
        "Resume them by manage.py resume, or in the admin.",
        pause.until,
    )


def _of_sleep(run: Run) -> Explanation:
    return Explanation("The function asked to go on later.", run.next_attempt_at)


def _of_capacity(run: Run) -> Explanation:
    if run.next_attempt_at is not None and run.attempt == 0 and run.released_at is None:
        return Explanation(f"It is to start later. {_ahead(run)}", run.next_attempt_at)
    workers = [each for each in live_workers() if not each.queues or run.queue in each.queues]
    threads = sum(worker.threads for worker in workers)
    busy = Run.objects.filter(state=Run.State.RUNNING, worker__in=workers)
    if not workers:
        return Explanation("No worker is alive. Start one: `manage.py rundramatiq`.")
    if not threads:
        return Explanation(
            f"The {len(workers)} worker(s) that serve the queue {run.queue} take nothing: they are "
            "paused, about to end, or stuck. Resume or start one."
        )
    return Explanation(
        f"The {threads} thread(s) of the {len(workers)} worker(s) that serve the queue "
        f"{run.queue} are taken. {_ahead(run)}",
        holders=_some(busy),
    )


def _ahead(run: Run) -> str:
    """Say how many waiting runs of the queue were there before, or go first."""
    before = Run.objects.filter(state=Run.State.WAITING, queue=run.queue).filter(
        Q(priority__gt=run.priority) | Q(priority=run.priority, created_at__lt=run.created_at)
    )
    count = before[: _MAX_AHEAD + 1].count()
    shown = f"more than {_MAX_AHEAD}" if count > _MAX_AHEAD else str(count)
    return f"Of the queue's waiting runs, {shown} were there before it; creators take turns."


def _some(runs: object) -> Sequence[Run]:
    found: Sequence[Run] = runs.select_related("video").order_by("released_at")[:_SHOWN_HOLDERS]  # type: ignore[attr-defined]
    return list(found)
