"""How JSON and links are shown: folded, without secrets, and not without end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Sum
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localdate, localtime

from videos.models import Call, Run

_MAX_CHARACTERS = 20_000
_SECRET = re.compile(r"key$|secret|token$|password|authorization", re.IGNORECASE)


def folded(value: Any) -> SafeString | str:
    """Show JSON, where a person opens it; its beginning, where it is long."""
    if value in (None, {}, []):
        return "–"
    text = json.dumps(masked(value), indent=1, ensure_ascii=False)
    if len(text) > _MAX_CHARACTERS:
        text = f"{text[:_MAX_CHARACTERS]} … and {len(text) - _MAX_CHARACTERS} characters more"
    label = f"{len(value)} entries" if isinstance(value, (dict, list)) else "a value"
    return format_html("<details><summary>{}</summary><pre>{}</pre></details>", label, text)


def masked(value: Any) -> Any:
    """Return JSON with the texts hidden whose names say that they are secrets."""
    if isinstance(value, dict):
        return {
            name: "***" if _SECRET.search(name) and isinstance(inner, str) else masked(inner)
            for name, inner in value.items()
        }
    return [masked(inner) for inner in value] if isinstance(value, list) else value


def when(moment: datetime) -> str:
    """Return a time of today as a clock shows it, any other with its day."""
    local = localtime(moment)
    return f"{local:%H:%M:%S}" if local.date() == localdate() else f"{local:%Y-%m-%d %H:%M}"


def cost_of(calls: QuerySet[Call]) -> str:
    """Sum what calls cost, and how many they are."""
    total = calls.aggregate(cost=Sum("cost_usd"), calls=Count("id"))
    return f"{total['calls']} calls, ${total['cost'] or 0:.4f}"


def links(runs: Iterable[Run]) -> SafeString:
    """Link to runs, one a line."""
    pages = [(reverse("admin:videos_run_change", args=[run.pk]), run) for run in runs]
    return format_html_join(mark_safe("<br>"), '<a href="{}">{}</a>', pages)
