"""Who is told by email that videos are done, and what is still to be told."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from videos.durable.fields import StoredCharField, StoredTextField


class EmailWish(models.Model):
    """A user who wants to be told by email; without a row, nobody does."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="email_wish",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.user} by email"


class EmailItem(models.Model):
    """A video that ended, and is in the next email to its creator."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="email_items"
    )
    #: Of the event that it tells of: dispatched twice, it is told once.
    event_id = models.UUIDField(unique=True)
    video_id = models.UUIDField()
    title = StoredCharField(max_length=255)
    #: Empty: it is completed.
    error = StoredTextField(blank=True, most=1_000)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.title
