"""Videos in the admin: upload, progress, transcript, reprocessing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from videos.admin.filters import (
    FaultFilter,
    WarningsFilter,
    ended_filter,
    error_codes,
    videos_since,
)
from videos.admin.histories import CreatorFilter, known_values
from videos.admin.scope import Scoped
from videos.admin.shown import cost_of
from videos.admin.steering import Steering
from videos.documents import chunk_documents, eta_s, serving_segments, with_runs
from videos.models import Call, Run, Video
from videos.pages.media import play
from videos.text.timecodes import clock

#: What a person may edit; the rest is written by the pipeline.
_EDITABLE = ("title",)
_SET_ONCE = ("creator", "file", "language", "captions")
_KEPT = ("used", "created_at", "completed_at", "id")
_SHOWN_ERROR_CHARACTERS = 60


@admin.register(Video)
class VideoAdmin(Scoped, Steering):
    """The list of videos, and the page of each."""

    list_display = ("title", "creator", "state", "progress_bar", "length", "problem", "created_at")
    list_display_links = ("title",)
    list_filter = (
        "status",
        known_values("error_code", error_codes),
        FaultFilter,
        ended_filter(videos_since),
        WarningsFilter,
        "created_at",
        CreatorFilter,
    )
    search_fields = ("title", "original_filename", "error")
    search_help_text = "The id of a video, or words of its title, file name or error."
    raw_id_fields = ("creator",)
    change_form_template = "admin/videos/video/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Video]:
        """Load creators and active runs at once, so that a page has a constant cost."""
        return with_runs(super().get_queryset(request))

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        """Offer a search for the creator where the project's admin has one."""
        users = get_user_model()
        registered = self.admin_site.is_registered(users)
        found = registered and self.admin_site.get_model_admin(users).search_fields
        return ("creator",) if found else ()

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Let all columns be sorted by: videos are few beside their runs."""
        return self.list_display

    def search_words(self, words: str) -> Q:
        """Look for all of them in the title, the file's name or the error."""
        found = Q()
        for word in words.split():
            anywhere = Q()
            for name in self.search_fields:
                anywhere |= Q(**{f"{name}__icontains": word})
            found &= anywhere
        return found

    def get_fields(self, request: HttpRequest, obj: Video | None = None) -> Any:
        """Show the form for an upload, or all there is to know."""
        if obj is None:
            return (*_SET_ONCE, *_EDITABLE)
        shown = ("state", "progress_bar", "length", "spoken", "coverage", "notes", "problem_whole")
        known = ("creator", "stored_file", "language", "has_captions")
        return (*_EDITABLE, *known, *shown, *_KEPT)

    def get_readonly_fields(self, request: HttpRequest, obj: Video | None = None) -> Any:
        """Leave only the title to be edited once a video exists."""
        if obj is None:
            return ()
        return [name for name in self.get_fields(request, obj) if name not in _EDITABLE]

    @admin.display(description="file")
    def stored_file(self, video: Video) -> str:
        """Name the file as it was uploaded, and where it is kept; link to it."""
        named = f"{video.original_filename} ({video.file.name})"
        watch = reverse("admin:videos_video_media", args=[video.pk])
        return format_html('{} <a href="{}">Open</a>', named, watch)

    @admin.display(description="captions of its own", boolean=True)
    def has_captions(self, video: Video) -> bool:
        """Tell whether a person wrote the captions."""
        return bool(video.captions)

    @admin.display(description="status", ordering="status")
    def state(self, video: Video) -> str:
        """Say the status, and why the video waits."""
        run = _active_run(video)
        waiting = run.waiting_for if run else None
        if waiting:
            return f"{video.get_status_display()}, waits for {waiting['reason']}"
        if run and run.state == Run.State.RETRYING:
            return f"{video.get_status_display()}, tries again"
        return video.get_status_display()

    @admin.display(description="progress", ordering="progress")
    def progress_bar(self, video: Video) -> SafeString:
        """Draw the progress, with the time that is left."""
        left = eta_s(video, _active_run(video))
        note = f", about {left:.0f} s left" if left is not None else ""
        return format_html(
            '<progress max="1" value="{}" aria-label="progress">{}</progress> {}{}',
            video.progress,
            f"{video.progress:.0%}",
            f"{video.progress:.0%}",
            note,
        )

    @admin.display(description="duration", ordering="duration_s")
    def length(self, video: Video) -> str:
        """Return the duration as h:mm:ss."""
        if video.duration_s is None:
            return "–"
        return clock(video.duration_s)

    @admin.display(description="error or warnings", ordering="error_code")
    def problem(self, video: Video) -> str:
        """Return the error's code and beginning, or the codes of warnings."""
        if not video.error_code:
            return ", ".join(sorted({warning["code"] for warning in video.warnings}))
        text = f"{video.error_code}: {video.error}"
        short = text[: _SHOWN_ERROR_CHARACTERS - 1] + "…"
        return text if len(text) <= _SHOWN_ERROR_CHARACTERS else short

    @admin.display(description="error")
    def problem_whole(self, video: Video) -> str:
        """Return the whole error, which says what to do."""
        return f"{video.error_code}: {video.error}" if video.error_code else "–"

    @admin.display(description="language spoken")
    def spoken(self, video: Video) -> str:
        """Return the language that was recognized."""
        return video.detected_language or "–"

    @admin.display(description="warnings")
    def notes(self, video: Video) -> SafeString | str:
        """List the warnings."""
        return (
            format_html_join(
                mark_safe("<br>"),
                "{}{}: {}",
                ((_at(warning), warning["code"], warning["message"]) for warning in video.warnings),
            )
            or "–"
        )

    @admin.display(description="usage")
    def used(self, video: Video) -> str:
        """Sum what the video cost, from the ledger."""
        return cost_of(Call.objects.filter(video_id=video.pk, state=Call.State.ANSWERED))

    def get_urls(self) -> list[URLPattern]:
        """Add the transcript and the chunks."""
        site = self.admin_site.admin_view
        return [
            path(
                "<uuid:video_id>/transcript/", site(self.transcript), name="videos_video_transcript"
            ),
            path("<uuid:video_id>/chunks/", site(self.chunks), name="videos_video_chunks"),
            path("<uuid:video_id>/media/", site(self.media_file), name="videos_video_media"),
            *super().get_urls(),
        ]

    def transcript(self, request: HttpRequest, video_id: UUID) -> HttpResponse:
        """Show the transcript in force, every segment with its time."""
        video = self._viewable(request, video_id)
        segments = [(clock(segment.start), segment) for segment in serving_segments(video)]
        return self._page(request, video, "transcript", {"segments": segments})

    def chunks(self, request: HttpRequest, video_id: UUID) -> HttpResponse:
        """Show the chunks in force."""
        video = self._viewable(request, video_id)
        chunks = [(clock(chunk["start"]), chunk) for chunk in chunk_documents(video)]
        return self._page(request, video, "chunks", {"chunks": chunks})

    def media_file(self, request: HttpRequest, video_id: UUID) -> HttpResponseBase:
        """Play the file, or send the browser to its bucket, by an address signed for an hour."""
        return play(request, self._viewable(request, video_id))

    def _viewable(self, request: HttpRequest, video_id: UUID) -> Video:
        video: Video = get_object_or_404(self.get_queryset(request), pk=video_id)
        if not self.has_view_permission(request, video):
            raise PermissionDenied
        return video

    def _page(
        self, request: HttpRequest, video: Video, name: str, extra: dict[str, Any]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{name.capitalize()} of {video}",
            "video": video,
            "opts": self.opts,
            **extra,
        }
        return TemplateResponse(request, f"admin/videos/video/{name}.html", context)


def _active_run(video: Video) -> Run | None:
    runs: list[Run] = video.active_runs  # type: ignore[attr-defined]
    return runs[0] if runs else None


def _at(warning: dict[str, Any]) -> str:
    return "" if warning["start"] is None else f"{clock(warning['start'])} "
