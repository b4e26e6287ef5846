"""The views. Every one of them sees what the access policy lets its user see, and no more."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.views.decorators.http import require_POST, require_safe

from videos.access import editable_videos, may_upload, visible_videos
from videos.documents import (
    FORMATS,
    serving_segments,
    transcript_document,
    video_document,
    with_runs,
)
from videos.models import Video
from videos.pages import words
from videos.pages.media import picture, play
from videos.pipeline import proxy

_VIDEOS_PER_PAGE = 24
_MAX_QUERY = 300
_CONTENT_TYPES = {
    "vtt": "text/vtt; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
}
#: What the library can be narrowed to.
_STATUSES = {
    "ready": [Video.Status.COMPLETED],
    "failed": [Video.Status.FAILED, Video.Status.CANCELLED],
    "working": [
        *(Video.Status.PENDING, Video.Status.TRANSCRIBING),
        *(Video.Status.CHUNKING, Video.Status.EMBEDDING),
    ],
}


@require_safe
def library(request: HttpRequest) -> HttpResponse:
    """List the videos that one may see, the newest first; live while some are processed."""
    query = request.GET.get("q", "").replace("\0", "")[:_MAX_QUERY]
    videos = with_runs(visible_videos(request.user)).order_by("-created_at", "-pk")
    if query:
        videos = videos.filter(title__icontains=query)
    status = request.GET.get("status", "")
    if status in _STATUSES:
        videos = videos.filter(status__in=_STATUSES[status])
    page: Page[Video] = Paginator(videos, _VIDEOS_PER_PAGE).get_page(request.GET.get("page"))
    listed = list(page.object_list)
    editable = editable_videos(request.user).filter(pk__in=[video.pk for video in listed])
    shown = words.shown(listed, editable.values_list("pk", flat=True))
    context = {
        "page": page,
        "shown": shown,
        "query": query,
        "status": status,
        "is_live": any(not each.is_ended for each in shown),
        "is_editable": any(each.is_editable for each in shown),
        "may_upload": may_upload(request.user),
    }
    return render(request, "videos/library.html", context)


@require_safe
def watch(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """Play a video beside its transcript, from the second that `?t=` names.

    Who is not signed in and may not see it is asked to sign in, whether there is such a video or
    not: links are passed on.
    """
    video = with_runs(visible_videos(request.user)).filter(pk=video_id).first()
    if video is None:
        if request.user.is_authenticated:
            raise Http404
        return redirect_to_login(request.get_full_path())
    context = {
        "video": video,
        "document": video_document(video),
        "has_transcript": video.revision_id is not None,
        "is_editable": editable_videos(request.user).filter(pk=video.pk).exists(),
    }
    return render(request, "videos/watch.html", context)


@require_safe
def media(request: HttpRequest, video_id: UUID) -> HttpResponseBase:
    """Play the file in ranges, or send the browser to its bucket by a signed address."""
    return play(request, _visible(request, video_id))


@require_POST
def playable(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """Have a copy made that browsers play, of a file that they do not."""
    video = _visible(request, video_id)
    proxy.request(video)
    return redirect("videos:watch", video.pk)


@require_safe
def thumbnail(request: HttpRequest, video_id: UUID) -> HttpResponseBase:
    """Show a frame of the video."""
    return picture(request, _visible(request, video_id))


@require_safe
def transcript(request: HttpRequest, video_id: UUID, kind: str) -> HttpResponse:
    """Return the transcript in force, as captions, text or JSON."""
    if kind not in _CONTENT_TYPES:
        raise Http404("There is no such format.")
    video = _visible(request, video_id)
    body = (
        json.dumps(transcript_document(video), ensure_ascii=False)
        if kind == "json"
        else FORMATS[kind](serving_segments(video))
    )
    response = HttpResponse(body, content_type=_CONTENT_TYPES[kind])
    if "download" in request.GET:
        name = slugify(video.title, allow_unicode=True) or "transcript"
        response["Content-Disposition"] = content_disposition_header(
            as_attachment=True, filename=f"{name}.{kind}"
        )
    return response


def _visible(request: HttpRequest, video_id: Any) -> Video:
    """Return a video that the user may see; any other does not exist for them."""
    try:
        return get_object_or_404(visible_videos(request.user), pk=UUID(str(video_id)))
    except ValueError:
        raise Http404("There is no such video.") from None
