"""What creators' runs use of the limits of a creator: slots, and starts a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import Count, Min, Q
from django.db.models.functions import Now

from videos.conf import conf
from videos.durable.models import Run
from videos.durable.priorities import BULK, URGENT

MINUTE = timedelta(seconds=60)


class CreatorLimits:
    """What each creator's runs use of the limits of a creator; runs of nobody have none."""

    def __init__(self) -> None:
        holds, is_recent = Q(holds_slot=True), Q(released_at__gt=Now() - MINUTE)
        counted = Run.objects.filter(holds | is_recent, priority__lt=URGENT).exclude(queue=BULK)
        rows = counted.order_by().values_list("creator")
        counts = list(
            rows.annotate(held=Count("id", filter=holds), begun=Count("id", filter=is_recent))
        )
        #: Slots that a creator's runs hold, and starts within the last minute.
        self.slots = Counter({creator: slots for creator, slots, _ in counts})
        self.starts = Counter({creator: starts for creator, _, starts in counts})

    def admits(self, run: Run) -> bool:
        """Whether no limit of its creator keeps a run waiting."""
        return run.priority >= URGENT or self.reached_by(run.creator_id) is None

    def reached_by(self, creator_id: Any) -> Run.Waiting | None:
        """Return the limit that keeps a creator's runs waiting."""
        if creator_id is None:
            return None
        concurrency, per_minute = conf().creator_concurrency, conf().creator_starts_per_minute
        if concurrency and self.slots[creator_id] >= concurrency:
            return Run.Waiting.CONCURRENCY
        if per_minute and self.starts[creator_id] >= per_minute:
            return Run.Waiting.RATE
        return None

    def creators_at(self, limit: Run.Waiting) -> list[Any]:
        """Return the creators whose runs a limit keeps waiting."""
        return [each for each in self.slots | self.starts if self.reached_by(each) == limit]

    def take(self, run: Run) -> None:
        """Count one more run of a creator as admitted."""
        if run.priority < URGENT:
            self.slots[run.creator_id] += 1
            self.starts[run.creator_id] += 1


def rate_ends(creator_ids: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return the creators with their first start within the last minute."""
    recent = Run.objects.filter(
        creator__in=creator_ids, released_at__gt=Now() - MINUTE, priority__lt=URGENT
    )
    others = recent.exclude(queue=BULK).values_list("creator")
    return list(others.annotate(first=Min("released_at")))
