"""What operators have many videos do: be processed again, stop, go before others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from videos.admin.histories import HistoryAdmin
from videos.durable import admission, priorities
from videos.models import Video
from videos.pipeline import bulk, steering
from videos.pipeline.estimate import estimate

_RESUME = "resume"
_SHOWN_VIDEOS = 50
#: More than so many are steered by a run of its own.
_AT_ONCE = 100
_MAX_STEERED = 100_000


class Steering(HistoryAdmin):
    """The list of videos, with the actions that steer them."""

    actions = ("reprocess", "cancel", "prefer")

    @admin.action(description="Reprocess …", permissions=["change"])
    def reprocess(self, request: HttpRequest, videos: QuerySet[Video]) -> HttpResponse | None:
        """Ask from which stage, show how many and what it costs, then process again."""
        stage = request.POST.get("stage", "")
        if stage in {*steering.restartable_stages(), _RESUME}:
            self._reprocess_all(request, videos, None if stage == _RESUME else stage)
            return None
        choices = []
        for name, note in _choices():
            eligible = steering.restartable(videos, name or None)
            use = estimate(eligible, name or None)
            choices.append((name or _RESUME, note, eligible.count(), use))
        # All that match the filter are asked for by the filter again, not by a thousand fields.
        across = request.POST.get("select_across") == "1"
        selected = videos[:1] if across else videos
        context = {
            **self.admin_site.each_context(request),
            "title": "Reprocess videos",
            "count": videos.count(),
            "shown": videos[:_SHOWN_VIDEOS],
            "selected": selected.values_list("pk", flat=True),
            "across": across,
            "choices": choices,
            # What failed goes on where it did; anything dearer a person chooses.
            "preset": _RESUME,
            "opts": self.opts,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/videos/video/reprocess.html", context)

    def _reprocess_all(
        self, request: HttpRequest, videos: QuerySet[Video], stage: str | None
    ) -> None:
        count = videos.count()
        begun: list[Video] = []
        # What is begun changes what the filter finds.
        ids = list(steering.restartable(videos, stage).values_list("pk", flat=True))
        per_minute = _number(request.POST.get("per_minute", ""))
        if len(ids) > _AT_ONCE or per_minute:
            how = f"from {stage}" if stage else "where they failed"
            self._steer_many(
                request, ids, "reprocess", how, from_stage=stage, per_minute=per_minute
            )
            return
        with admission.admitting_once():
            for video in Video.objects.filter(pk__in=ids):
                try:
                    video.reprocess(stage)
                except ValueError as error:
                    self.message_user(request, str(error), messages.WARNING)
                else:
                    begun.append(video)
            if len(ids) > 1:
                priorities.defer(ids)
        started = len(begun)
        _log(request, begun, f"Reprocessed from {stage}." if stage else "Resumed.")
        self.message_user(request, f"{started} of {count} videos are being reprocessed.")

    def _steer_many(
        self, request: HttpRequest, ids: list[UUID], action: Any, how: str, **options: Any
    ) -> None:
        """Leave many to a run of its own, which is told of, with a link to its progress."""
        if len(ids) > _MAX_STEERED:
            self.message_user(
                request, f"At most {_MAX_STEERED} at once: narrow the filter.", messages.ERROR
            )
            return
        by = request.user.get_username()
        for run in bulk.start(ids, action, by=by, **options):
            self.log_change(request, run, f"{action.capitalize()} {len(ids)} videos {how}.")
            page = reverse("admin:videos_run_change", args=[run.pk])
            told = format_html(
                '{} videos: {} {}. <a href="{}">See its progress, or stop it.</a>',
                *(len(ids), action, how, page),
            )
            self.message_user(request, told)

    @admin.action(description="Cancel processing", permissions=["change"])
    def cancel(self, request: HttpRequest, videos: QuerySet[Video]) -> HttpResponse:
        """Stop the selected videos' runs."""
        ids = list(videos.values_list("pk", flat=True)[: _MAX_STEERED + 1])
        if len(ids) > _AT_ONCE:
            self._steer_many(request, ids, "cancel", "at their next step")
            return redirect(reverse("admin:videos_video_changelist"))
        with admission.admitting_once():
            stopped = [video for video in videos if video.cancel()]
        _log(request, stopped, "Cancelled.")
        self.message_user(request, f"{len(stopped)} runs are being cancelled.")
        return redirect(reverse("admin:videos_video_changelist"))

    @admin.action(description="Process before all others", permissions=["change"])
    def prefer(self, request: HttpRequest, videos: QuerySet[Video]) -> None:
        """Let the selected videos' runs start next, within their creators' limits."""
        chosen = list(videos)
        preferred = priorities.prefer(video.pk for video in chosen)
        _log(request, chosen, "Moved to the front.")
        self.message_user(request, f"{preferred} waiting runs moved to the front.")


def _choices() -> Iterator[tuple[str, str]]:
    """Yield from which stages videos can be processed again, and what is done then."""
    yield "", "where they failed (failed and cancelled ones only)"
    names = steering.restartable_stages()
    for at, name in enumerate(names):
        following = ", ".join(names[at + 1 :])
        yield name, f"{name}, then {following}" if following else name


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def _log(request: HttpRequest, videos: Sequence[Video], message: str) -> None:
    """Write into each video's history who did what."""
    assert request.user.pk is not None, "the admin knows who asks"
    LogEntry.objects.log_actions(request.user.pk, videos, CHANGE, message)
