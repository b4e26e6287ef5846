"""What a creator does with videos: names them, has them go on, gives them other files, deletes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files import File
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from videos.access import editable_videos
from videos.documents import with_runs
from videos.durable import admission
from videos.models import Video
from videos.models.video import source_path
from videos.pages import words
from videos.pages.forms import CaptionsForm, DetailsForm, ReplaceForm
from videos.pipeline import replacing

_MAX_AT_ONCE = 500


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def manage(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """Show what can be done with a video, and do it."""
    video = get_object_or_404(with_runs(editable_videos(request.user)), pk=video_id)
    forms: dict[str, Any] = {
        "details": DetailsForm(initial={"title": video.title}),
        "replace": ReplaceForm(creator=request.user),
        "captions": CaptionsForm(),
    }
    if request.method == "POST":
        name = request.POST.get("action", "")
        if name in forms:
            forms[name] = _bound(name, request, video)
            if forms[name].is_valid():
                _SAVE[name](video, forms[name])
                messages.success(request, _("Saved."))
                return redirect("videos:manage", video.pk)
        elif name in _ACTIONS:
            return _act(request, name, editable_videos(request.user).filter(pk=video.pk))
    context = {
        "video": video,
        "shown": words.shown([video], [video.pk])[0],
        "forms": forms,
    }
    status = 400 if any(form.is_bound for form in forms.values()) else 200
    return render(request, "videos/manage.html", context, status=status)


@require_POST
@login_required
def act(request: HttpRequest) -> HttpResponse:
    """Do something to all videos that were ticked in the library."""
    name = request.POST.get("action", "")
    named = request.POST.getlist("video")[:_MAX_AT_ONCE]
    if one := request.POST.get("resume"):
        # The button beside a video, whatever is ticked.
        name, named = "resume", [one]
    try:
        ticked = [UUID(each) for each in named]
    except ValueError:
        ticked = []
    return _act(request, name, editable_videos(request.user).filter(pk__in=ticked))


def _act(request: HttpRequest, name: str, videos: QuerySet[Video]) -> HttpResponse:
    if name not in _ACTIONS:
        messages.error(request, _("Choose what to do."))
        return redirect("videos:library")
    if not videos.exists():
        messages.error(request, _("Choose videos first."))
        return redirect("videos:library")
    if name == "delete" and "confirmed" not in request.POST:
        return render(request, "videos/delete.html", {"videos": videos})
    done, refused = 0, []
    with admission.admitting_once():
        for video in videos:
            try:
                done += _ACTIONS[name](video) is not False
            except ValueError as error:
                refused.append(str(error))
    for refusal in refused[:3]:
        messages.warning(request, refusal)
    messages.success(request, words.said_of(done, _DONE[name]()))
    is_there = videos.first() if len(videos) == 1 else None
    if is_there is not None and "stay" in request.POST:
        return redirect("videos:manage", is_there.pk)
    return redirect("videos:library")


def _bound(name: str, request: HttpRequest, video: Video) -> Any:
    if name == "details":
        return DetailsForm(request.POST)
    if name == "replace":
        return ReplaceForm(request.POST, request.FILES, creator=request.user)
    return CaptionsForm(request.POST, request.FILES)


def _rename(video: Video, form: Any) -> None:
    video.title = form.cleaned_data["title"]
    video.save()


def _replace(video: Video, form: ReplaceForm) -> None:
    """Store another file under a name of its own, then have it processed in place of the old."""
    file: File[bytes] = form.cleaned_data["file"]
    filename = file.name or ""
    stored = video.file.storage.save(source_path(video, filename), file)
    replacing.replace_file(video.pk, stored, filename, file.size)


def _take_captions(video: Video, form: CaptionsForm) -> None:
    replacing.replace_captions(video.pk, form.cleaned_data["captions"])


def _delete(video: Video) -> None:
    video.delete()


def _drop_captions(video: Video) -> None:
    replacing.replace_captions(video.pk, None)


_SAVE: dict[str, Callable[[Video, Any], None]] = {
    "details": _rename,
    "replace": _replace,
    "captions": _take_captions,
}
_ACTIONS: dict[str, Callable[[Video], object]] = {
    "resume": lambda video: video.reprocess(),
    "again": lambda video: video.reprocess("transcribe"),
    "cancel": lambda video: video.cancel(),
    "recognize": _drop_captions,
    "delete": _delete,
}
_DONE: dict[str, Callable[[], str]] = {
    "resume": lambda: _("Going on"),
    "again": lambda: _("Transcribed again"),
    "cancel": lambda: _("Being cancelled"),
    "recognize": lambda: _("Transcribed again"),
    "delete": lambda: _("Deleted"),
}
