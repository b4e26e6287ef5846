"""Runs, events, calls and workers in the admin: to be read, not to be edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from videos.models import (
    Breaker,
    Call,
    Event,
    ProbedModel,
    Run,
    SetAside,
    Step,
    StorageDeletion,
    Worker,
)


class _ReadOnly:
    """Job rows are written by workers alone; deleting a video deletes its own."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StepInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The steps of a run, in the order in which they began."""

    model = Step
    extra = 0
    fields = ("stage", "key", "state", "attempts", "started_at", "finished_at", "error")
    readonly_fields = fields


@admin.register(Run)
class RunAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What was executed, step by step."""

    list_display = (
        *("created_at", "function", "video", "state", "stage", "waits_for", "next_attempt_at"),
        *("attempt", "error_code", "finished_at"),
    )
    list_filter = ("state", "function", "queue", "error_code", "created_at")
    search_fields = ("=id", "=video__id", "video__title", "error")
    list_select_related = ("video",)
    list_per_page = 50
    show_full_result_count = False
    inlines = (StepInline,)
    fieldsets = (
        (None, {"fields": ("function", "video", "creator", "event", "state", "stage")}),
        ("Outcome", {"fields": ("error_code", "error", "created_at", "started_at", "finished_at")}),
        (
            "Waiting and retries",
            {"fields": ("waiting_reason", "next_attempt_at", "attempt", "deaths", "priority")},
        ),
        (
            "Claim",
            {
                "classes": ("collapse",),
                "fields": (
                    *("queue", "data", "worker", "token", "lease_until", "deadline_at"),
                    *("holds_slot", "released_at", "message_lost_at", "requeues"),
                    *("cancel_requested", "revision", "parent"),
                ),
            },
        ),
    )

    @admin.display(description="waits for")
    def waits_for(self, run: Run) -> str:
        """Return why the run waits."""
        waiting = run.waiting_for
        return str(waiting["reason"]) if waiting else ""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let runs go with their video or creator, on whose pages this is asked as well."""
        page = request.resolver_match
        return page is not None and not (page.url_name or "").startswith("videos_run_")


@admin.register(Event)
class EventAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """The facts and requests that came in."""

    list_display = ("created_at", "name", "video_id", "key", "dispatched_at")
    list_filter = ("name", "created_at")
    search_fields = ("=id", "=video_id", "key")
    list_per_page = 50
    show_full_result_count = False


@admin.register(Call)
class CallAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """The ledger."""

    list_display = (
        *("sent_at", "creator_name", "service", "model", "state", "http_status", "used"),
        *("audio_seconds", "tokens", "cost_usd"),
    )
    list_filter = ("service", "state", "model", "sent_at")
    search_fields = ("=id", "=video_id", "=run_id", "creator_name")
    list_per_page = 50
    show_full_result_count = False


@admin.register(Worker)
class WorkerAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """The worker processes that live now."""

    list_display = ("host", "pid", "queues", "threads", "stuck_threads", "started_at", "last_seen")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Show the newest first."""
        return super().get_queryset(request).order_by("-started_at")


@admin.register(SetAside)
class SetAsideAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What raised when it was to be started or swept: its error, and when it is tried again."""

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
        self.message_user(request, f"{count} are tried again within seconds.")


@admin.register(StorageDeletion)
class StorageDeletionAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Files that the storage is still to delete, and why it has not yet."""

    list_display = ("path", "attempts", "next_attempt_at", "error")
    ordering = ("created_at",)


@admin.register(Breaker)
class BreakerAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Which services answer, and until when no call is sent to one that does not."""

    list_display = ("service", "state", "failures", "open_until", "last_error")


@admin.register(ProbedModel)
class ProbedModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What models that no table lists can do; delete one to have it asked again."""

    list_display = ("model", "base_url", "probed_at")
    readonly_fields = ("model", "base_url", "capability", "probed_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
