"""What the last months cost: a chart of them, a month by creator with the budget, as CSV, too."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from videos.access import operated_creators
from videos.durable.paid import budgets
from videos.models import Budget
from videos.usage import UsageRow, month_of, summary

_MONTHS = 12
#: Units of the chart's drawing.
_BAR_WIDTH, _HEIGHT = 50, 100


def costs(request: HttpRequest) -> HttpResponse:
    """Show them; `month=YYYY-MM` names the one that is told by creator, `csv` asks for a file."""
    if not request.user.has_perm("videos.view_call"):
        raise PermissionDenied
    since, *_ = days = _last_months()
    months = [f"{day:%Y-%m}" for day in days]
    chosen = request.GET.get("month", "")
    chosen = chosen if chosen in months else months[-1]
    rows = _theirs(request, summary(since=since))
    of_month = sorted(
        (row for row in rows if row["month"] == chosen), key=lambda row: -row["cost_usd"]
    )
    if "csv" in request.GET:
        return _as_csv(of_month, chosen)
    # A budget is for the month that is under way.
    monthly = _budgets() if chosen == months[-1] else {}
    context = {
        **admin.site.each_context(request),
        "title": "Costs",
        "chosen": chosen,
        "bars": _bars(rows, months),
        "chart": (_BAR_WIDTH * _MONTHS, _HEIGHT),
        "rows": [
            {
                **row,
                "audio_hours": row["audio_seconds"] / 3600,
                "budget": monthly.get(row["creator"]),
            }
            for row in of_month
        ],
        "total": sum(row["cost_usd"] for row in of_month),
        "hours": sum(row["audio_seconds"] for row in of_month) / 3600,
        "unknown": sum(row["unknown_calls"] for row in of_month),
    }
    return TemplateResponse(request, "admin/videos/costs.html", context)


def _last_months() -> list[date]:
    """Return the first days of the last months, the oldest first."""
    months = [month_of(timezone.now())]
    while len(months) < _MONTHS:
        months.insert(0, (months[0] - timedelta(days=1)).replace(day=1))
    return months


def _theirs(request: HttpRequest, rows: list[UsageRow]) -> list[UsageRow]:
    """Keep what belongs to the creators whom the operator has; all of it for the whole site."""
    creators = operated_creators(request.user)
    if creators is None:
        return rows
    names = set(creators.values_list(creators.model.USERNAME_FIELD, flat=True))
    return [row for row in rows if row["creator"] in names]


def _bars(rows: list[UsageRow], months: list[str]) -> list[dict[str, Any]]:
    """Return a bar for each month: what it cost, and where it is drawn."""
    sums: dict[str, float] = defaultdict(float)
    for row in rows:
        sums[row["month"]] += row["cost_usd"]
    most = max(sums.values(), default=0) or 1
    return [
        {
            "month": month,
            "cost_usd": sums[month],
            "x": at * _BAR_WIDTH,
            "y": round(_HEIGHT - _HEIGHT * sums[month] / most),
            "height": round(_HEIGHT * sums[month] / most),
        }
        for at, month in enumerate(months)
    ]


def _budgets() -> dict[str, Budget]:
    """Return creators' budgets by the creators' names."""
    given = [spent.budget for spent in budgets.recent()]
    return {each.creator.get_username(): each for each in given if each.creator is not None}


def _as_csv(rows: list[UsageRow], month: str) -> HttpResponse:
    answer = HttpResponse(
        content_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="costs-{month}.csv"'},
    )
    writer = csv.DictWriter(answer, list(UsageRow.__annotations__))
    writer.writeheader()
    # A name that begins so is a formula to a spreadsheet (OWASP, "CSV Injection").
    for row in rows:
        is_formula = row["creator"].startswith(("=", "+", "-", "@"))
        writer.writerow(row | {"creator": f"'{row['creator']}" if is_formula else row["creator"]})
    return answer
