"""Events, calls and what was set aside in the admin: to be read, not to be edited."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from videos.admin import costs, sending
from videos.admin.histories import FOUND, HistoryAdmin, ReadOnly, known_values
from videos.admin.scope import Scoped
from videos.conf import conf
from videos.durable.explanation import why_nothing
from videos.durable.paid import prices
from videos.durable.registry import registry
from videos.models import (
    Breaker,
    Call,
    Event,
    ProbedModel,
    Run,
    ServingModel,
    SetAside,
    StorageDeletion,
)

_SHOWN_RUNS = 100


def models_in_use() -> set[str]:
    """Return the models that are configured, have a price, were probed, or serve searches."""
    settings = conf()
    probed = ProbedModel.objects.values_list("model", flat=True)
    serving = ServingModel.objects.values_list("model", flat=True)
    configured = (settings.transcription_model, settings.embedding_model)
    return {*configured, *prices.known_prices(), *probed, *serving}


@admin.register(Event)
class EventAdmin(Scoped, ReadOnly, HistoryAdmin):
    """The facts and requests that came in."""

    creator_field = None

    id_fields = ("pk", "video_id")
    search_help_text = "The id of an event or of its video, or how its key begins."
    list_display = ("created_at", "name", "video_id", "key", "dispatched_at")
    list_filter = (known_values("name", lambda: registry.types), "created_at")
    search_fields = ("key",)
    fields = ("created_at", "name", "key", "sent_data", "dispatched_at", "started")
    readonly_fields = fields
    change_form_template = "admin/videos/event/change_form.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let who may add events send them."""
        return self.is_open(request) and admin.ModelAdmin.has_add_permission(self, request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Ask which event, then for its data; `event` names one whose data is to begin with."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        before = self.get_object(request, request.GET.get("event", ""))
        name = request.GET.get("name") or (before.name if before else "")
        form = None
        if name in sending.sendable():
            initial = before.data if before else {}
            form = sending.SendForm(name, request.POST or None, initial)
            if form.is_valid() and (event := form.send()) is not None:
                self.log_addition(request, event, f"Sent {name} by hand.")
                self.message_user(request, f"The event {name} was sent.")
                return redirect(reverse("admin:videos_event_change", args=[event.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Send {name}" if form else "Send an event",
            "opts": self.opts,
            "form": form,
            "names": sending.sendable(),
        }
        return TemplateResponse(request, "admin/videos/event/send.html", context)

    @admin.display(description="data")
    def sent_data(self, event: Event) -> str:
        """Return what it says, as JSON."""
        return format_html("<pre>{}</pre>", json.dumps(event.data, indent=2, ensure_ascii=False))

    @admin.display(description="started")
    def started(self, event: Event) -> str:
        """List what it started, or say why nothing."""
        runs = event.runs.select_related("video").order_by("created_at")[:_SHOWN_RUNS]
        links = (
            (reverse("admin:videos_run_change", args=[run.pk]), run, run.video or "")
            for run in runs
        )
        return format_html_join(mark_safe("<br>"), '<a href="{}">{}</a> {}', links) or why_nothing(
            event
        )

    def search_words(self, words: str) -> Q:
        """Look for a key by its beginning, or an event that has such a name."""
        return Q(key__startswith=words) | Q(name=words)


@admin.register(Call)
class CallAdmin(Scoped, ReadOnly, HistoryAdmin):
    """The ledger."""

    id_fields = ("pk", "video_id")
    search_help_text = "The id of a call, of its video or of its run, or a creator's name."

    list_display = (
        *("sent_at", "creator_name", "service", "model", "state", "http_status", "used"),
        *("audio_seconds", "tokens", "cost_usd"),
    )
    list_filter = ("service", "state", known_values("model", models_in_use), "sent_at")
    search_fields = ("creator_name",)

    def get_urls(self) -> list[URLPattern]:
        """Add the costs by month and creator."""
        page = self.admin_site.admin_view(costs.costs)
        return [path("costs/", page, name="videos_call_costs"), *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a run's calls among those of its video, of which there is an index."""
        try:
            run = Run.objects.filter(pk=UUID(search_term.strip())).first()
        except ValueError:
            run = None
        if run is not None:
            return queryset.filter(video_id=run.video_id, run_id=run.pk), False
        return super().get_search_results(request, queryset, search_term)

    def search_words(self, words: str) -> Q:
        """Look for creators of such a name."""
        users = get_user_model()
        named = users._default_manager.filter(**{f"{users.USERNAME_FIELD}__icontains": words})
        return Q(creator__in=list(named.values_list("pk", flat=True)[:FOUND]))


@admin.register(SetAside)
class SetAsideAdmin(Scoped, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What raised when it was to be started or swept: its error, and when it is tried again."""

    creator_field = None

    list_display = ("since", "kind", "item_id", "function", "attempts", "next_attempt_at", "error")
    list_filter = ("kind",)
    ordering = ("since",)
    actions = ("try_now",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change them, though nothing of theirs can be edited."""
        return request.user.has_perm("videos.change_setaside")

    @admin.action(description="Try again now", permissions=["retry"])
    def try_now(self, request: HttpRequest, rows: QuerySet[SetAside]) -> None:
        """Have the sweep take the selected ones up at once."""
        count = rows.update(next_attempt_at=Now())
        self.message_user(request, f"{count} will be retried within seconds.")


@admin.register(StorageDeletion)
class StorageDeletionAdmin(Scoped, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Files that the storage is still to delete, and why it has not yet."""

    creator_field = None

    list_display = ("path", "attempts", "next_attempt_at", "error")
    ordering = ("created_at",)


@admin.register(Breaker)
class BreakerAdmin(Scoped, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Which services answer, and until when no call is sent to one that does not."""

    creator_field = None

    list_display = ("service", "state", "failures", "open_until", "last_error")


@admin.register(ProbedModel)
class ProbedModelAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """What models that no table lists can do; delete one to have it asked again."""

    creator_field = None

    list_display = ("model", "base_url", "probed_at")
    readonly_fields = ("model", "base_url", "capability", "probed_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
