"""Runs that a refused key has failed: they go on by themselves once it works, or was changed."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from videos.ai import key_check
from videos.durable import interventions, runs
from videos.durable.paid import breaker
from videos.durable.registry import Chore, registry
from videos.exceptions import Unauthorized
from videos.models import Breaker, Run, Video

logger = logging.getLogger(__name__)

#: Runs that are resumed at one look.
_MAX_AT_ONCE = 100
#: A video that is refused so often within a day has another trouble than the key: a person looks.
_MAX_REFUSALS = 3
_DAY = timedelta(days=1)


def due() -> QuerySet[Run]:
    """Return the failed runs of which a key is to be tried, or works by now."""
    closed_until = Breaker.objects.filter(refused=True, open_until__gt=Now()).values("service")
    failed = Run.objects.filter(state=Run.State.FAILED).exclude(waits_behind="")
    return failed.exclude(waits_behind__in=closed_until)


def resume_due() -> None:
    """Try the refused keys that nobody else tries; go on with what waits for those that work."""
    refused = Breaker.objects.filter(refused=True, open_until__lte=Now())
    for service in refused.values_list("service", flat=True):
        breaker.probe_refused(service, partial(key_check.works, service))
    still = Breaker.objects.filter(refused=True).values("service")
    for run in due().exclude(waits_behind__in=still)[:_MAX_AT_ONCE]:
        with transaction.atomic():
            if runs.take_refused(run):
                _resume(run)


def _resume(run: Run) -> None:
    video = run.video
    if video is None:
        if interventions.can_rerun(run):
            interventions.resume(run)
        return
    newest = video.runs.order_by("-created_at").first()
    lately = video.runs.filter(error_code=Unauthorized.code, finished_at__gt=Now() - _DAY)
    is_failed = video.status == Video.Status.FAILED and newest == run
    if is_failed and lately.count() < _MAX_REFUSALS:
        try:
            video.reprocess(key=f"the key works: {run.pk}")
        except ValueError as error:  # It was set aside: the sweep goes on with it.
            logger.warning("%s", error)


registry.chores["refused keys"] = Chore(due, resume_due)
