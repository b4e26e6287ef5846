"""Correcting transcripts: line by line, a speaker, words everywhere; what was done, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from videos.access import editable_videos
from videos.documents import serving_segments
from videos.models import Correction, Glossary, Segment, UnfitCorrection, Video
from videos.pages.differences import compared
from videos.pipeline import corrections
from videos.pipeline.corrections import Conflict, Replacement, Seen
from videos.text.correcting import CannotChange

#: Lines that a preview of replacements shows, and changes, at once.
_MAX_REPLACED = 500
_CHANGES_PER_PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """Show all lines to be edited; a form without scripts saves those that were changed."""
    video = _editable(request, video_id)
    if request.method == "POST":
        _save_all(request, video)
        return redirect("videos:edit", video.pk)
    segments = serving_segments(video)
    context = {
        "video": video,
        "segments": segments,
        "speakers": sorted({each.speaker for each in segments if each.speaker}),
        "unfit": video.unfit_corrections.all(),
        "max_characters": corrections.MAX_LINE_CHARACTERS,
    }
    return render(request, "videos/edit.html", context)


def _save_all(request: HttpRequest, video: Video) -> None:
    saved, refused = 0, 0
    for segment in serving_segments(video):
        text = request.POST.get(f"text-{segment.pk}")
        if text is None or text.strip() == segment.text.strip():
            continue
        try:
            version = int(request.POST.get(f"version-{segment.pk}", ""))
            corrections.rewrite(video, request.user, Seen(segment.pk, version), text)
            saved += 1
        except (ValueError, Conflict) as error:
            refused += 1
            messages.warning(request, f"{segment.text[:60]} …: {error}")
    if saved or not refused:
        said = ngettext("%(count)d line was saved.", "%(count)d lines were saved.", saved)
        messages.success(request, said % {"count": saved})


@require_POST
@login_required
def change(request: HttpRequest, video_id: UUID) -> JsonResponse:
    """Change one line: its text, its speaker, split it, join it with the next; answer in JSON."""
    video = _editable(request, video_id)
    act = _CHANGES.get(request.POST.get("do", ""))
    if act is None:
        return _refused("There is no such change.")
    try:
        written = act(video, request.user, request.POST)
    except Conflict as conflict:
        now = [_shown(conflict.line)] if conflict.line else []
        return JsonResponse({"error": str(conflict), "lines": now}, status=HTTPStatus.CONFLICT)
    except ValueError as error:  # CannotChange, or numbers that are none.
        return _refused(str(error))
    newest = Correction.objects.filter(video=video).values_list("pk", flat=True).first()
    return JsonResponse({"lines": [_shown(each) for each in written], "correction": newest})


def _seen(fields: QueryDict, name: str = "line") -> Seen:
    return Seen(int(fields.get(name, "")), int(fields.get(f"{name}_version", "")))


_CHANGES: Mapping[str, Callable[[Video, Any, QueryDict], list[Segment]]] = {
    "text": lambda video, user, fields: corrections.rewrite(
        video, user, _seen(fields), fields.get("text", "")
    ),
    "split": lambda video, user, fields: corrections.split(
        video, user, _seen(fields), int(fields.get("at", ""))
    ),
    "join": lambda video, user, fields: corrections.join(
        video, user, _seen(fields), _seen(fields, "next")
    ),
    "speaker": lambda video, user, fields: corrections.give_speaker(
        video, user, _seen(fields), fields.get("speaker", "")
    ),
}


def _shown(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.pk,
        "version": segment.version,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker,
    }


def _refused(message: str) -> JsonResponse:
    return JsonResponse({"error": message}, status=HTTPStatus.BAD_REQUEST)


@require_POST
@login_required
def rename(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """Rename a speaker in all lines of a video."""
    video = _editable(request, video_id)
    old, new = request.POST.get("old", ""), request.POST.get("new", "")
    try:
        count = corrections.rename_speaker(video, request.user, old, new)
    except CannotChange as error:
        messages.error(request, str(error))
    else:
        said = ngettext("%(count)d line was changed.", "%(count)d lines were changed.", count)
        messages.success(request, said % {"count": count})
    return redirect("videos:edit", video.pk)


class ReplaceWordsForm(forms.Form):
    """What is to be replaced by what."""

    find = forms.CharField(label=gettext_lazy("Replace"), max_length=200)
    by = forms.CharField(label=gettext_lazy("by"), max_length=200, required=False)
    whole_words = forms.BooleanField(
        label=gettext_lazy("Whole words"), required=False, initial=True
    )
    match_case = forms.BooleanField(label=gettext_lazy("Match capitals"), required=False)
    add_to_glossary = forms.BooleanField(
        label=gettext_lazy("Tell it to the recognizer of future videos"), required=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    @property
    def replacement(self) -> Replacement:
        """What was asked for."""
        said = self.cleaned_data
        return Replacement(said["find"], said["by"], said["match_case"], said["whole_words"])


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def replace(request: HttpRequest) -> HttpResponse:
    """Replace words in one or all videos: shown first, done where a line stays ticked."""
    videos = editable_videos(request.user)
    inside = None
    if named := request.GET.get("video") or request.POST.get("video"):
        inside = _editable(request, named)
        videos = videos.filter(pk=inside.pk)
    asked = request.POST if request.method == "POST" else request.GET
    form = ReplaceWordsForm(asked if "find" in asked else None)
    context: dict[str, Any] = {"form": form, "inside": inside, "most": _MAX_REPLACED}
    if form.is_valid():
        if request.method == "POST":
            _replace_chosen(request, form, videos)
            return redirect("videos:edit", inside.pk) if inside else redirect("videos:replace")
        context |= _preview(corrections.matches(videos, form.replacement), form.replacement)
    return render(request, "videos/replace.html", context)


def _preview(matches: Any, wanted: Replacement) -> dict[str, Any]:
    """Return the lines that would change, by video, with what is struck out and put in."""
    found: list[tuple[Video, list[Any]]] = []
    count, is_more = 0, False
    for segment in matches.iterator(chunk_size=_MAX_REPLACED):
        text = wanted.of(segment.text)
        if text == segment.text or not text.strip():
            continue
        if count == _MAX_REPLACED:
            is_more = True
            break
        count += 1
        video = segment.transcript.video
        if not found or found[-1][0] != video:
            found.append((video, []))
        found[-1][1].append((segment, list(compared(segment.text, text))))
    return {"found": found, "count": count, "is_more": is_more}


def _replace_chosen(request: HttpRequest, form: ReplaceWordsForm, videos: Any) -> None:
    wanted, batch = form.replacement, uuid4()
    chosen = {int(each) for each in request.POST.getlist("line") if each.isdecimal()}
    theirs: dict[UUID, list[int]] = {}
    for segment in corrections.matches(videos, wanted).filter(pk__in=chosen):
        theirs.setdefault(segment.transcript.video_id, []).append(segment.pk)
    count = 0
    for video in videos.filter(pk__in=theirs):
        count += corrections.replace_all(video, request.user, wanted, theirs[video.pk], batch)
    said = ngettext("%(count)d line was changed.", "%(count)d lines were changed.", count)
    messages.success(request, said % {"count": count})
    if form.cleaned_data["add_to_glossary"] and wanted.by:
        _add_term(request.user, wanted.by)


def _add_term(creator: Any, term: str) -> None:
    glossary, _made = Glossary.objects.get_or_create(creator=creator)
    if term not in glossary.term_list:
        glossary.terms = "\n".join([*glossary.term_list, term])
        glossary.save(update_fields=["terms"])


@require_safe
@login_required
def history(request: HttpRequest, video_id: UUID) -> HttpResponse:
    """List who changed what in a video, the newest first."""
    video = _editable(request, video_id)
    page = Paginator(video.corrections.all(), _CHANGES_PER_PAGE).get_page(request.GET.get("page"))
    changes = [(each, _text_of(each.before), _text_of(each.after)) for each in page.object_list]
    shown = [
        (each, list(compared(before, after)), _speakers_of(each.before), _speakers_of(each.after))
        for each, before, after in changes
    ]
    return render(request, "videos/history.html", {"video": video, "page": page, "shown": shown})


def _text_of(lines: list[dict[str, Any]]) -> str:
    return " / ".join(line["text"] for line in lines)


def _speakers_of(lines: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(line["speaker"] for line in lines if line["speaker"]))


@require_POST
@login_required
def restore(request: HttpRequest, video_id: UUID, correction_id: UUID) -> HttpResponse:
    """Take a change back."""
    video = _editable(request, video_id)
    correction = get_object_or_404(Correction, pk=correction_id, video=video, restored_at=None)
    wants_json = request.accepts("application/json") and not request.accepts("text/html")
    try:
        corrections.restore(correction, request.user)
    except (Conflict, CannotChange):
        said = _(
            "What it changed is not there any more: it was changed again, or transcribed anew."
        )
        if wants_json:
            return JsonResponse({"error": said}, status=HTTPStatus.CONFLICT)
        messages.error(request, said)
    else:
        if wants_json:
            return JsonResponse({"restored": str(correction.pk)})
        messages.success(request, _("It is as it was before."))
    return redirect("videos:history", video.pk)


@require_POST
@login_required
def dismiss(request: HttpRequest, video_id: UUID, unfit_id: int) -> HttpResponse:
    """Forget a correction for which a newer transcript has no place."""
    video = _editable(request, video_id)
    UnfitCorrection.objects.filter(video=video, pk=unfit_id).delete()
    return redirect("videos:edit", video.pk)


def _editable(request: HttpRequest, video_id: UUID | str) -> Video:
    try:
        named = UUID(str(video_id))
    except ValueError:
        named = UUID(int=0)
    return get_object_or_404(
        editable_videos(request.user).select_related("revision__transcript"), pk=named
    )
