"""What programs of creators use: keys, answers that are kept, webhooks and their deliveries."""

from __future__ import annotations

import base64
import hashlib
import secrets

from django.conf import settings
from django.db import models
from django.db.models import Case, F, When
from django.db.models.functions import Now, TruncMinute
from django.utils.translation import gettext_lazy as _
from uuid6 import uuid7

from videos.durable.fields import StoredCharField, StoredTextField

_PREFIX = "chr_"
_SHOWN = 8
#: 32 random bytes: a digest without salt is enough, since nobody guesses them.
_SECRET_BYTES = 32


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_webhook_secret() -> str:
    """Return a secret as Standard Webhooks has them: `whsec_`, then base64 of 32 bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


class ApiKey(models.Model):
    """A key by which a creator's program acts as the creator; only its digest is kept."""

    class Scope(models.TextChoices):
        """What a key may do."""

        READ = "read", _("Read")
        WRITE = "write", _("read and write")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = StoredCharField(max_length=100)
    #: The beginning of the key, by which people tell keys apart.
    prefix = models.CharField(max_length=16, editable=False)
    #: sha256 of the key.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(max_length=8, choices=Scope, default=Scope.READ)
    requests_per_minute = models.PositiveIntegerField(default=120)
    #: The minute that is counted, and its requests so far.
    window = models.DateTimeField(null=True, editable=False)
    window_requests = models.PositiveIntegerField(default=0, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(cls, creator: object, name: str, scope: str = Scope.READ) -> tuple[ApiKey, str]:
        """Make a key; return it with its text, which nobody can be told a second time."""
        token = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        key = cls.objects.create(
            creator=creator,
            name=name,
            scope=scope,
            prefix=token[: len(_PREFIX) + _SHOWN],
            digest=_digest(token),
        )
        return key, token

    @classmethod
    def find(cls, token: str) -> ApiKey | None:
        """Return the key of a text, unless it was revoked or its creator may not sign in."""
        keys = cls.objects.select_related("creator").filter(revoked_at=None)
        key = keys.filter(digest=_digest(token)).first()
        return key if key and key.creator.is_active else None

    def count_request(self) -> int:
        """Count a request; return how many there were in this minute."""
        minute = TruncMinute(Now())
        same = When(window=minute, then=F("window_requests") + 1)
        rows = ApiKey.objects.filter(pk=self.pk)
        rows.update(window_requests=Case(same, default=1), window=minute, last_used_at=Now())
        self.refresh_from_db(fields=["window_requests"])
        return self.window_requests


class IdempotentRequest(models.Model):
    """A write that named itself by `Idempotency-Key`: sent twice, it is done once."""

    # The unique constraint begins with it.
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, db_index=False)
    name = models.CharField(max_length=255)
    #: sha256 of method, path and body.
    fingerprint = models.CharField(max_length=64)
    #: Null while it is being done.
    http_status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    content_type = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "name"], name="idempotent_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotent_age")]

    def __str__(self) -> str:
        return self.name


class Webhook(models.Model):
    """An address that is told what happens to a creator's videos."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks"
    )
    url = models.URLField(max_length=500)
    #: Names of events; empty: all that are told.
    events = models.JSONField(default=list, blank=True)
    secret = models.CharField(max_length=100, default=new_webhook_secret, editable=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event for one webhook: what was sent, how often, and what came back."""

    class State(models.TextChoices):
        """Whether it has arrived."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The unique constraint begins with it.
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    #: The event that it tells of; one that is sent again by hand has none of its own.
    event_id = models.UUIDField(null=True)
    event = models.CharField(max_length=100)
    body = models.TextField()
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    http_status = models.PositiveSmallIntegerField(null=True)
    error = StoredTextField(blank=True, most=500)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=["webhook", "event_id"], name="delivered_once")
        ]
        indexes = [models.Index(fields=["webhook", "-created_at"], name="delivery_newest")]

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook}"
