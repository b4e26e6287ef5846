"""The ledger: one row for every request to a paid service; and the services' breakers."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from uuid6 import uuid7

from videos.durable.fields import StoredCharField, StoredTextField

#: Characters that are kept of a service's error.
_MAX_ERROR_CHARACTERS = 1_000


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
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,  # The index with `sent_at` begins with it.
    )
    #: Kept so that usage can still be read once the account is gone.
    creator_name = StoredCharField(max_length=255)
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
    #: What the budget of tokens was charged with before the answer told the truth.
    reserved_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    error = StoredTextField(blank=True, most=_MAX_ERROR_CHARACTERS)
    sent_at = models.DateTimeField(db_default=Now(), editable=False)
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
            models.Index(fields=["-sent_at", "-id"], name="call_newest"),
            models.Index(
                fields=["state", "-sent_at"], condition=~Q(state="answered"), name="call_state"
            ),
            models.Index(fields=["model", "-sent_at"], name="call_model"),
            models.Index(fields=["run_id"], condition=Q(state="sent"), name="call_open_of_run"),
        ]

    def __str__(self) -> str:
        return f"{self.service} call, {self.state}"


class Breaker(models.Model):
    """The circuit breaker of a service: closed while `open_until` is null."""

    service = models.CharField(max_length=16, choices=Call.Service, primary_key=True)
    #: Failures in a row; any answer of the service ends the row.
    failures = models.PositiveIntegerField(default=0)
    #: How often it opened since the service answered last; the pause doubles each time.
    openings = models.PositiveIntegerField(default=0)
    #: No call is sent before; after it, one call at a time tries whether the service is back.
    open_until = models.DateTimeField(null=True, blank=True)
    probing_until = models.DateTimeField(null=True, blank=True)
    #: When it opened first since the service answered last.
    opened_at = models.DateTimeField(null=True, blank=True)
    last_error = StoredTextField(blank=True, most=_MAX_ERROR_CHARACTERS)
    #: It is open because the service refused the key or the account, not because it is down.
    refused = models.BooleanField(default=False, db_default=False)

    def __str__(self) -> str:
        return f"{self.service}: {self.state}"

    @property
    def state(self) -> str:
        """`closed`, `failing` (still closed) or `open`."""
        if self.open_until is not None:
            return "open"
        return "failing" if self.failures else "closed"


class Budget(models.Model):
    """What a creator's calls of a month may cost, or those of the whole site.

    Once it is spent, runs that pay do not start; those that have started go on to their end.
    """

    #: None: the whole site.
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    month_usd = models.DecimalField(
        max_digits=12, decimal_places=2, validators=[MinValueValidator(0)]
    )
    #: What was counted last (`budgets`), so that a month's ledger is read once: the calls sent
    #: since the month began, and before this moment.
    counted_usd = models.DecimalField(
        max_digits=18, decimal_places=8, default=0, db_default=0, editable=False
    )
    counted_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["creator"], name="one_budget_of_each", nulls_distinct=False
            ),
            models.CheckConstraint(condition=Q(month_usd__gte=0), name="budget_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"budget of {self.creator or 'the site'}"


class MonthlyUsage(models.Model):
    """The sums of a creator's month, so that nobody reads a long ledger to its beginning.

    Written once its calls have settled (`usage`), and again while the month goes on.
    """

    #: The first day of the month, UTC.
    month = models.DateField(db_index=True)
    #: It counts the calls before this day, while the month goes on; None: the whole month.
    until = models.DateField(null=True)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    creator_name = StoredCharField(max_length=255)
    audio_seconds = models.FloatField(default=0.0)
    transcription_calls = models.PositiveBigIntegerField(default=0)
    embedding_tokens = models.PositiveBigIntegerField(default=0)
    embedding_calls = models.PositiveBigIntegerField(default=0)
    unknown_calls = models.PositiveBigIntegerField(default=0)
    failed_calls = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    def __str__(self) -> str:
        return f"{self.creator_name}, {self.month:%Y-%m}"
