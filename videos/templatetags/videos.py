"""Tags for any template: a player, a transcript beside it, a search; times as people write them.

{% load videos %}
{% video_styles %}
{% video_player video %} {% video_transcript video %} {% video_search creator=teacher %}
"""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.shortcuts import resolve_url
from django.utils.formats import date_format
from django.utils.timezone import localtime

from videos.models import Chapter, Video
from videos.pages.playing import player_context
from videos.text.timecodes import clock as written

register = template.Library()
#: Of the boxes that one process has shown: two on a page need two ids.
_numbers = count(1)


@register.filter
def clock(seconds: float | None) -> str:
    """Return h:mm:ss, or m:ss below an hour; nothing for an unknown time."""
    return "" if seconds is None else written(seconds)


@register.filter
def moment(written: str) -> str:
    """Return the time of day of a moment in ISO 8601, in the present time zone."""
    return date_format(localtime(datetime.fromisoformat(written)), "TIME_FORMAT")


@register.filter
def percent(share: float | None) -> int:
    """Return a share of 0 to 1 as a whole number of percent."""
    return round(100 * (share or 0))


@register.inclusion_tag("videos/styles.html")
def video_styles() -> dict[str, Any]:
    """Link the styles of the three tags below; all of them begin with `.chronos`."""
    return {}


@register.inclusion_tag("videos/player.html", takes_context=True)
def video_player(context: template.Context, video: Video) -> dict[str, Any]:
    """Show a player that begins at the second of `?t=`; its file asks the access policy."""
    shown = player_context(video, context["request"].GET.get("t"))
    return shown | {"csrf_token": context.get("csrf_token")}


@register.inclusion_tag("videos/chapters.html")
def video_chapters(video: Video) -> dict[str, Any]:
    """List the chapters, each leading to its second; nothing where there are none."""
    chapters = Chapter.objects.filter(revision=video.revision_id) if video.revision_id else ()
    return {"video": video, "chapters": list(chapters)}


@register.inclusion_tag("videos/transcript.html")
def video_transcript(video: Video) -> dict[str, Any]:
    """Show the transcript: it follows the player of the page, leads to seconds, is searched.

    Whoever puts it on a page has asked whether its user may see the video.
    """
    return {"video": video, "segments": list(video.segments)}


@register.inclusion_tag("videos/search_form.html")
def video_search(
    creator: Any = None, video: Video | None = None, query: str = ""
) -> dict[str, Any]:
    """Show a box that finds moments: in all that one may see, a creator's videos, or one."""
    return {"creator": creator, "video": video, "query": query, "id": f"find-{next(_numbers)}"}


@register.simple_tag(takes_context=True)
def login_address(context: template.Context) -> str:
    """Return where the host project lets people sign in, and that they come back from there."""
    query = urlencode({REDIRECT_FIELD_NAME: context["request"].get_full_path()})
    return f"{resolve_url(settings.LOGIN_URL)}?{query}"
