"""Keys, webhooks and what they were told: seen, revoked and sent again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from videos.admin.scope import Scoped
from videos.models import ApiKey, Webhook, WebhookDelivery
from videos.pipeline import webhooks


@admin.register(ApiKey)
class ApiKeyAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """Keys of creators; nobody can read one, whoever has the right can revoke it."""

    list_display = ("prefix", "name", "creator", "scope", "last_used_at", "revoked_at")
    list_filter = ("scope", "revoked_at")
    search_fields = ("prefix", "name")
    list_select_related = ("creator",)
    readonly_fields = ("creator", "prefix", "last_used_at", "created_at", "revoked_at")
    fields = ("name", "scope", "requests_per_minute", *readonly_fields)
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Leave it to creators, who alone are told their keys."""
        return False

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        """Let the selected keys open nothing any more."""
        count = keys.filter(revoked_at=None).update(revoked_at=Now())
        self.message_user(request, f"{count} keys were revoked.")


@admin.register(Webhook)
class WebhookAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """Whom events are told to."""

    list_display = ("url", "creator", "events", "is_active", "created_at")
    list_filter = ("is_active",)
    search_fields = ("url",)
    list_select_related = ("creator",)
    readonly_fields = ("creator", "url", "created_at")
    fields = ("is_active", "events", *readonly_fields)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Leave it to creators, who alone are told the secret."""
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """What was sent, what came back."""

    creator_field = "webhook__creator"

    list_display = ("event", "webhook", "state", "attempts", "http_status", "error", "created_at")
    list_filter = ("state", "event")
    search_fields = ("webhook__url", "error")
    list_select_related = ("webhook",)
    show_full_result_count = False
    actions = ("resend",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only events make deliveries."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: WebhookDelivery | None = None
    ) -> bool:
        """Leave what was sent as it was; whoever may change them may send them again."""
        return obj is None and super().has_change_permission(request)

    @admin.action(description="Send again", permissions=["change"])
    def resend(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        """Send the selected deliveries once more."""
        sent = [webhooks.resend(each) for each in deliveries.select_related("webhook")]
        self.message_user(request, f"{len(sent)} deliveries are sent again.")
