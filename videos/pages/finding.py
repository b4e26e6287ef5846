"""Finding a moment: in all that one may see, or less of it; titles while one types."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from videos.access import visible_videos
from videos.ai import chat
from videos.models import Video
from videos.pages.moments import grouped
from videos.search import search

_MOMENTS = 30
_MAX_QUERY = 300
_SUGGESTIONS = 8


class Narrowing(forms.Form):
    """To which videos a search is narrowed; whatever cannot be read narrows nothing."""

    video = forms.UUIDField(required=False, widget=forms.HiddenInput)
    creator = forms.CharField(required=False, max_length=150, label=_("Creator"))
    language = forms.CharField(required=False, max_length=16, label=_("Language"))
    speaker = forms.CharField(required=False, max_length=100, label=_("Speaker"))
    since = forms.DateField(
        required=False, label=_("Since"), widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.DateField(
        required=False, label=_("Until"), widget=forms.DateInput(attrs={"type": "date"})
    )
    longer = forms.IntegerField(
        required=False, min_value=0, max_value=10_000, label=_("Longer than, in minutes")
    )
    shorter = forms.IntegerField(
        required=False, min_value=1, max_value=10_000, label=_("Shorter than, in minutes")
    )

    def apply(self, videos: QuerySet[Video]) -> QuerySet[Video]:
        """Return the videos that are left."""
        said = self.cleaned_data
        if video := said.get("video"):
            videos = videos.filter(pk=video)
        if creator := said.get("creator"):
            videos = videos.filter(creator__in=_named(creator))
        if language := said.get("language"):
            videos = videos.filter(detected_language=language)
        if since := said.get("since"):
            videos = videos.filter(created_at__date__gte=since)
        if until := said.get("until"):
            videos = videos.filter(created_at__date__lte=until)
        if longer := said.get("longer"):
            videos = videos.filter(duration_s__gte=60 * longer)
        if shorter := said.get("shorter"):
            videos = videos.filter(duration_s__lte=60 * shorter)
        return videos

    @property
    def is_used(self) -> bool:
        """Whether it narrows anything but to one video."""
        return any(value for name, value in self.cleaned_data.items() if name != "video")


@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """Answer a question with moments."""
    query = request.GET.get("q", "").strip()[:_MAX_QUERY]
    videos = visible_videos(request.user)
    inside = None
    if named := request.GET.get("video"):
        inside = _visible(videos, named)
    narrowing = Narrowing(request.GET)
    narrowing.is_valid()
    # Scripts ask for the words alone first, which is quick, and for all as soon as they can.
    is_words = "words" in request.GET
    mode = "text" if is_words else "hybrid"
    hits = []
    if query:
        speaker = narrowing.cleaned_data.get("speaker", "")
        hits = search(query, narrowing.apply(videos), _MOMENTS, mode, speaker)
    context = {
        "query": query,
        "inside": inside,
        "narrowing": narrowing,
        "found": grouped(hits),
        "is_words": is_words,
        "can_ask": chat.is_available() and request.user.is_authenticated,
    }
    return render(request, "videos/find.html", context)


@require_safe
def suggest(request: HttpRequest) -> JsonResponse:
    """Return titles that hold what was typed so far, the newest first."""
    typed = request.GET.get("q", "").replace("\0", "").strip()[:_MAX_QUERY]
    titles: list[str] = []
    if typed:
        found = visible_videos(request.user).filter(title__icontains=typed)
        titles = list(found.order_by("-created_at").values_list("title", flat=True)[:_SUGGESTIONS])
    return JsonResponse({"titles": list(dict.fromkeys(titles))})


def _visible(videos: QuerySet[Video], named: str) -> Video:
    try:
        return get_object_or_404(videos, pk=UUID(named))
    except ValueError:
        raise Http404("There is no such video.") from None


def _named(creator: str) -> QuerySet[Any]:
    """Return whom a name or a key names."""
    users = get_user_model()
    by_name = users._default_manager.filter(**{users.USERNAME_FIELD: creator})
    try:
        return by_name | users._default_manager.filter(pk=creator)
    except (ValueError, ValidationError):
        return by_name
