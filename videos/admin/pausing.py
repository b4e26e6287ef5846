"""Pauses in the admin: adding one holds runs back, deleting it lets them go."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from videos.admin.scope import Scoped
from videos.durable import admission, pauses
from videos.models import Pause
from videos.pipeline.pausing import pausable


class PauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """Asks for the queue, the function or the creator, as the kind wants it."""

    class Meta:
        model = Pause
        fields = ("kind", "name", "creator", "why", "until")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = self.fields.get("kind")
        if isinstance(kind, forms.ChoiceField) and self.instance.kind != Pause.Kind.WORKER:
            # Workers are paused in their list, where they need not be named.
            kinds = [each for each in Pause.Kind.choices if each[0] != Pause.Kind.WORKER]
            kind.choices = [("", "Choose …"), *kinds]
            if self.instance._state.adding:
                self.initial["kind"] = ""  # An empty form is not to pause the whole site.
        if "name" in self.fields:
            self.fields["name"].help_text = "; ".join(
                f"{kind.label.lower()}: {', '.join(names)}" for kind, names in pausable().items()
            )

    def clean(self) -> dict[str, Any]:
        """Hold the name and the creator to the kind."""
        said = super().clean() or {}
        kind, name, creator = said.get("kind"), said.get("name"), said.get("creator")
        known = pausable().get(kind) if kind else None
        if known is not None and name not in known:
            self.add_error("name", f"One of: {', '.join(known)}.")
        if known is None and name and kind != Pause.Kind.WORKER:
            self.add_error("name", "Only a queue, a function or a service has a name.")
        if (kind == Pause.Kind.CREATOR) != (creator is not None):
            self.add_error("creator", "A creator, where a creator is to be paused.")
        return said


@admin.register(Pause)
class PauseAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """What is paused, by whom, why and until when."""

    form = PauseForm
    list_display = ("__str__", "by", "why", "since", "until")
    list_select_related = ("creator",)
    raw_id_fields = ("creator",)
    actions = ("delete_selected",)

    @admin.action(description="Resume", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, rows: QuerySet[Pause]) -> None:
        """Let what waited for the selected ones start, in place of Django's own action."""
        ended = [str(row) for row in rows.select_related("creator")]
        self.delete_queryset(request, rows)
        self.message_user(request, f"Resumed: {', '.join(ended)}.")

    def save_model(self, request: HttpRequest, obj: Pause, form: Any, change: bool) -> None:
        """Note who paused it, and write the reason on what waits."""
        obj.by = request.user.get_username()
        super().save_model(request, obj, form, change)
        admission.admit()

    def delete_model(self, request: HttpRequest, obj: Pause) -> None:
        """Let what waited start."""
        pauses.end(Pause.objects.filter(pk=obj.pk))
        admission.admit()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Pause]) -> None:
        """Let what waited start."""
        pauses.end(queryset)
        admission.admit()
