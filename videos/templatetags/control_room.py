"""The control room on any page of the admin: `{% load control_room %}{% control_room %}`."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from videos.admin import control_room as room
from videos.admin.shown import when
from videos.admin.timeline import Timeline
from videos.admin.timeline import timeline as drawn
from videos.durable.explanation import Explanation, explain
from videos.models import Run

register = template.Library()


@register.simple_tag(takes_context=True)
def control_room(context: dict[str, Any]) -> SafeString | str:
    """Show it to who may see runs; nothing to others."""
    request = context["request"]
    if not room.is_for(request.user):
        return ""
    return render_to_string("admin/videos/control_room.html", room.context(), request)


@register.filter
def timeline(run: Run) -> Timeline:
    """Return a run's drawing."""
    return drawn(run)


@register.filter
def explanation(run: Run) -> Explanation | None:
    """Return why a run does not go on."""
    return explain(run)


register.filter("when", when)


@register.filter
def seconds(value: float | None) -> str:
    """Return a duration as people write it; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value * 1_000:.0f} ms" if value < 1 else f"{value:.1f} s"
