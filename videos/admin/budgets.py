"""Budgets in the admin: what a month may cost, and what was spent of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from videos.admin.scope import Scoped
from videos.durable import admission
from videos.durable.paid import budgets
from videos.models import Budget


@admin.register(Budget)
class BudgetAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """Whoever changes one lets go, or holds back, what waits for it."""

    list_display = ("__str__", "month_usd", "spent")
    list_select_related = ("creator",)
    raw_id_fields = ("creator",)
    fields = ("creator", "month_usd")

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> list[str]:
        """Ask whose it is only where it is new."""
        return ["creator"] if obj else []

    @admin.display(description="spent this month")
    def spent(self, budget: Budget) -> str:
        """In USD, and as a share of it."""
        now = {spent.budget.pk: spent for spent in budgets.recent()}.get(budget.pk)
        return f"${now.usd:.2f} ({now.share:.0%})" if now else ""

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        """Have it count at once."""
        super().save_model(request, obj, form, change)
        _count_anew()

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        """Let what waited for it start."""
        super().delete_model(request, obj)
        _count_anew()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        """Let what waited for them start."""
        super().delete_queryset(request, queryset)
        _count_anew()


def _count_anew() -> None:
    budgets.changed()
    admission.admit()
