"""What the pages' templates need: times as people write them."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.shortcuts import resolve_url
from django.utils.formats import date_format
from django.utils.timezone import localtime

from videos.text.timecodes import clock as written

register = template.Library()


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


@register.simple_tag(takes_context=True)
def login_address(context: template.Context) -> str:
    """Return where the host project lets people sign in, and that they come back from there."""
    query = urlencode({REDIRECT_FIELD_NAME: context["request"].get_full_path()})
    return f"{resolve_url(settings.LOGIN_URL)}?{query}"
