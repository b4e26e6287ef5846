"""How long histories are kept: what is over, and old, is deleted in small batches by the sweep.

Nothing that is under way goes, and nothing that a video goes on from: its failed and cancelled
runs hold the steps that are not paid for again. Of calls the sums stay (`usage`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from videos import usage
from videos.conf import conf
from videos.durable.registry import Chore, registry
from videos.models import ACTIVE_STATES, Call, Event, Run, Step, Transcript, WebhookDelivery
from videos.pipeline import deletion, storage

_AT_ONCE = 500
#: What is due is let wait for so long, so that a batch is worth it.
_GRACE = timedelta(hours=1)
_OVER = (Run.State.COMPLETED, Run.State.REPLACED)
_RESUMABLE = (Run.State.FAILED, Run.State.CANCELLED)


@dataclass
class Pruned:
    """How many rows went, or would go."""

    runs: int = 0
    steps: int = 0
    events: int = 0
    calls: int = 0
    deliveries: int = 0
    audio: int = 0


def due() -> QuerySet[Run]:
    """Return completed runs that are older than they are kept; none if they are kept for ever."""
    before = _before(conf().keep_runs_days, _GRACE)
    if before is None:
        return Run.objects.none()
    return Run.objects.filter(state__in=_OVER, finished_at__lt=before)


def prune(told: Callable[[Pruned], object] = lambda pruned: None) -> Pruned:
    """Delete what is old, batch by batch; `told` of each how many there were so far."""
    pruned = Pruned()
    while ids := list(_old_runs().values_list("pk", flat=True)[:_AT_ONCE]):
        _, by_model = Run.objects.filter(pk__in=ids).delete()
        pruned.runs += by_model.get(Run._meta.label, 0)
        pruned.steps += by_model.get(Step._meta.label, 0)
        told(pruned)
    while ids := list(_old_events().values_list("pk", flat=True)[:_AT_ONCE]):
        pruned.events += Event.objects.filter(pk__in=ids).delete()[0]
        told(pruned)
    while ids := list(_old_deliveries().values_list("pk", flat=True)[:_AT_ONCE]):
        pruned.deliveries += WebhookDelivery.objects.filter(pk__in=ids).delete()[0]
        told(pruned)
    for month in _old_months():
        usage.keep_month(month)
        while ids := list(_calls_of(month).values_list("pk", flat=True)[:_AT_ONCE]):
            pruned.calls += Call.objects.filter(pk__in=ids).delete()[0]
            told(pruned)
    while old := list(_old_audio().select_related("video")[:_AT_ONCE]):
        pruned.audio += sum(map(_delete_audio, old))
        told(pruned)
    return pruned


def prunable() -> Pruned:
    """Count what `prune` would delete."""
    runs = _old_runs()
    started = Exists(Run.objects.filter(event=OuterRef("pk")).exclude(pk__in=runs.values("pk")))
    return Pruned(
        runs=runs.count(),
        steps=Step.objects.filter(run__in=runs.values("pk")).count(),
        events=_dispatched_events().exclude(started).count(),
        deliveries=_old_deliveries().count(),
        calls=sum(_calls_of(month).count() for month in _old_months()),
        audio=_old_audio().count(),
    )


def _before(days: int, grace: timedelta = timedelta()) -> datetime | None:
    return timezone.now() - timedelta(days=days) - grace if days else None


def _old_runs() -> QuerySet[Run]:
    before = _before(conf().keep_runs_days)
    if before is None:
        return Run.objects.none()
    handled = Run.objects.filter(parent=OuterRef("pk"), state__in=ACTIVE_STATES)
    of_nothing = Q(state__in=_RESUMABLE, video=None) & ~Exists(handled)
    return Run.objects.filter(Q(state__in=_OVER) | of_nothing, finished_at__lt=before).order_by()


def _dispatched_events() -> QuerySet[Event]:
    before = _before(conf().keep_runs_days)
    if before is None:
        return Event.objects.none()
    return Event.objects.filter(created_at__lt=before, dispatched_at__lt=before).order_by()


def _old_events() -> QuerySet[Event]:
    """Return the events of which no run is left."""
    return _dispatched_events().exclude(Exists(Run.objects.filter(event=OuterRef("pk"))))


def _old_deliveries() -> QuerySet[WebhookDelivery]:
    """Return what webhooks were told, or not, long ago: by the time that is in the keys."""
    before = _before(conf().keep_runs_days)
    if before is None:
        return WebhookDelivery.objects.none()
    # The first 48 bits of a UUID of version 7 are milliseconds since 1970 (RFC 9562, 5.7).
    first = UUID(int=int(before.timestamp() * 1000) << 80)
    pending = WebhookDelivery.State.PENDING
    return WebhookDelivery.objects.filter(pk__lt=first).exclude(state=pending).order_by()


def _old_months() -> list[date]:
    """Return the months, the oldest first, that are over for longer than calls are kept."""
    before = _before(conf().keep_calls_days)
    first: Any = Call.objects.order_by("sent_at").values_list("sent_at", flat=True).first()
    months: list[date] = []
    if before is None or first is None:
        return months
    month = usage.month_of(first)
    while usage.end_of(month) <= before:
        months.append(month)
        month = usage.month_of(usage.end_of(month))
    return months


def _calls_of(month: date) -> QuerySet[Call]:
    return usage.calls_of(month).exclude(state=Call.State.SENT).order_by()


def _old_audio(grace: timedelta = timedelta()) -> QuerySet[Transcript]:
    """Return the complete transcripts whose stored audio is old, and which no run works on."""
    before = _before(conf().keep_audio_days, grace)
    if before is None:
        return Transcript.objects.none()
    works = Exists(Run.objects.filter(video=OuterRef("video"), state__in=ACTIVE_STATES))
    old = Transcript.objects.filter(completed_at__lt=before, is_audio_kept=False)
    return old.exclude(audio="").exclude(works).order_by()


def _delete_audio(transcript: Transcript) -> bool:
    """Have a transcript's audio be deleted; where the file it was made of is gone, keep it."""
    if not storage.has_file(transcript.video):
        Transcript.objects.filter(pk=transcript.pk).update(is_audio_kept=True)
        return False
    with transaction.atomic():
        deletion.delete_later([transcript.audio])
        # Those of one decoding share it.
        Transcript.objects.filter(audio=transcript.audio).update(audio="")
    return True


registry.chores["audio"] = Chore(partial(_old_audio, _GRACE), prune)
registry.chores["retention"] = Chore(due, prune)
