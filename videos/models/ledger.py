"""The ledger: one row for every request to a paid service."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid6 import uuid7


class Call(models.Model):
    """A request to a paid service, committed as `sent` before it leaves.

    The row outlives its video, run and step: it refers to them by id alone.
    """

    class State(models.TextChoices):
        """What became of the request."""

        SENT = "sent"
        ANSWERED = "answered"
        FAILED = "failed"
        UNKNOWN = "unknown"

    class Service(models.TextChoices):
        """What was asked for."""

        TRANSCRIPTION = "transcription"
        EMBEDDING = "embedding"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: Kept so that usage can still be read once the account is gone.
    creator_name = models.CharField(max_length=255)
    video_id = models.UUIDField(null=True, db_index=True)
    run_id = models.UUIDField(null=True)
    step_id = models.UUIDField(null=True)
    service = models.CharField(max_length=16, choices=Service)
    model = models.CharField(max_length=100)
    state = models.CharField(max_length=16, choices=State, default=State.SENT)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    #: True for the one call whose answer became the step's result.
    used = models.BooleanField(default=False)
    audio_seconds = models.FloatField(default=0.0)
    tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    error = models.TextField(blank=True)
    sent_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-sent_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["step_id"],
                condition=Q(used=True),
                name="one_used_call_per_step",
            ),
            models.CheckConstraint(
                condition=Q(used=False) | Q(state="answered"),
                name="used_call_was_answered",
            ),
        ]
        indexes = [
            models.Index(fields=["creator", "sent_at"]),
            models.Index(fields=["sent_at"], condition=Q(state="sent"), name="call_open"),
        ]

    def __str__(self) -> str:
        return f"{self.service} call, {self.state}"
