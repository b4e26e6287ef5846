"""Events, the runs that they start with their steps, workers, pauses, and what was set aside."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from uuid6 import uuid7

from videos.durable.fields import StoredCharField, StoredTextField

#: Characters that are kept of an error: enough for a person, not a whole traceback.
MAX_ERROR_CHARACTERS = 2_000


class Event(models.Model):
    """A typed fact or request, written in the transaction that caused it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    #: The same key twice under one name is one event.
    key = models.CharField(max_length=255, null=True)  # noqa: DJ001
    data = models.JSONField()
    video_id = models.UUIDField(null=True, db_index=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    dispatched_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["name", "key"], name="event_key_of_name")]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=Q(dispatched_at__isnull=True),
                name="event_undispatched",
            ),
            # What the admin lists and filters by, however long the history is.
            models.Index(fields=["-created_at", "-id"], name="event_newest"),
            models.Index(fields=["name", "-created_at"], name="event_name"),
            models.Index(
                fields=["key"],
                condition=Q(key__isnull=False),
                opclasses=["varchar_pattern_ops"],
                name="event_key",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SetAside(models.Model):
    """Work that raised when it was to be started or swept, so that all other work goes on.

    It is tried again at growing pauses; until it succeeds, people are shown its error.
    """

    class Kind(models.TextChoices):
        """What was set aside."""

        #: An event whose dispatch raised, or a function that it could not start.
        EVENT = "event"
        #: A run that the sweep could not handle, or whose failure handler could not be started.
        RUN = "run"
        #: A run whose stage ended in an error that could not be written down.
        STAGE = "stage"

    kind = models.CharField(max_length=8, choices=Kind)
    #: The event's or the run's id.
    item_id = models.UUIDField()
    #: The function that could not be started by the event, or after the run's failure; empty:
    #: the event or run as a whole.
    function = StoredCharField(max_length=100, blank=True)
    attempts = models.PositiveIntegerField(default=1)
    next_attempt_at = models.DateTimeField()
    error = StoredTextField(most=MAX_ERROR_CHARACTERS)
    since = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "set aside"
        constraints = [
            models.UniqueConstraint(fields=["kind", "item_id", "function"], name="set_aside_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.item_id}"


class Worker(models.Model):
    """A worker process: alive while its heartbeat is fresh."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pid = models.PositiveIntegerField()
    host = StoredCharField(max_length=255)
    queues = models.JSONField(default=list)
    #: Threads that can take a run; those that are stuck in one are not among them.
    threads = models.PositiveIntegerField()
    stuck_threads = models.PositiveIntegerField(default=0, db_default=0)
    #: Somebody asked it to take nothing more, and to end after the calls that it has in flight.
    drain_requested = models.BooleanField(default=False, db_default=False)
    #: What is deployed there (CHRONOS_RELEASE).
    release = StoredCharField(max_length=100, blank=True, default="", db_default="")
    #: Seconds by which its machine's clock is ahead of the database's; negative: behind.
    clock_ahead_s = models.FloatField(default=0, db_default=0)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    last_seen = models.DateTimeField()

    #: From so many seconds on, a clock is told of: log lines cannot be put in order any more.
    CLOCK_IS_OFF_S = 2.0

    def __str__(self) -> str:
        return f"{self.pid} on {self.host}"

    @property
    def is_clock_off(self) -> bool:
        """Whether a person should set its machine's clock."""
        return abs(self.clock_ahead_s) >= self.CLOCK_IS_OFF_S


_ACTIVE = ["waiting", "queued", "running", "retrying"]


class Run(models.Model):
    """One execution of a function. `runs` and `claims` alone write its state."""

    class State(models.TextChoices):
        """Where the run is; the first four are active, the others final."""

        WAITING = "waiting"
        QUEUED = "queued"
        RUNNING = "running"
        RETRYING = "retrying"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        REPLACED = "replaced"

    class Waiting(models.TextChoices):
        """Why a run waits."""

        CONCURRENCY = "concurrency"
        RATE = "rate"
        CAPACITY = "capacity"
        #: Workers live, but none of them serves the run's queue.
        WORKER = "worker"
        BUDGET = "budget"
        SERVICE = "service"
        DISK = "disk"
        PAUSED = "paused"
        #: The function itself asked to go on later.
        ASLEEP = "asleep"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event = models.ForeignKey(
        Event,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="runs",
        # `one_run_per_event_and_function` begins with it.
        db_index=False,
    )
    function = models.CharField(max_length=100)
    video = models.ForeignKey(
        "videos.Video",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="runs",
    )
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
    )
    revision = models.ForeignKey(
        "videos.Revision",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="runs",
    )
    #: The failed run whose failure this one handles.
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="handlers"
    )
    queue = models.CharField(max_length=100, default="default")
    priority = models.SmallIntegerField(default=0, help_text="Higher goes first.")
    data = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=State, default=State.WAITING)
    stage = models.CharField(max_length=32)
    waiting_reason = models.CharField(max_length=16, choices=Waiting, blank=True)
    #: The service behind whose open breaker the run waits, or whose refusal of the key has failed
    #: it, so that it goes on once the key works; empty: none.
    waits_behind = models.CharField(max_length=16, blank=True)
    #: When a waiting or retrying run may go on; null: as soon as there is room.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    #: Workers that died under this run since its last finished step.
    deaths = models.PositiveIntegerField(default=0)
    #: The fencing token: grows at every claim; a write with an older one is void.
    token = models.PositiveBigIntegerField(default=0)
    worker = models.ForeignKey(
        Worker,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="runs",
        # A worker may claim before its own row is there, or after it was taken for dead.
        db_constraint=False,
    )
    lease_until = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    holds_slot = models.BooleanField(default=False)
    released_at = models.DateTimeField(null=True, blank=True)
    #: A run still queued by then has lost its message.
    message_lost_at = models.DateTimeField(null=True, blank=True)
    #: Messages that got lost since the run was claimed last.
    requeues = models.PositiveIntegerField(default=0)
    error = StoredTextField(blank=True, most=MAX_ERROR_CHARACTERS)
    error_code = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["video"],
                condition=Q(state__in=_ACTIVE),
                name="one_active_run_per_video",
            ),
            models.UniqueConstraint(
                fields=["event", "function", "video"],
                condition=Q(event__isnull=False),
                name="one_run_per_event_and_function",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False),
                name="running_run_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(holds_slot=False) | Q(state__in=_ACTIVE),
                name="ended_run_holds_no_slot",
            ),
        ]
        indexes = [
            models.Index(
                fields=["queue", "creator", "-priority", "created_at"],
                condition=Q(state__in=["waiting", "retrying"]),
                name="run_due",
            ),
            # Not by `lease_until`: a heartbeat that changes an indexed column writes all indexes.
            models.Index(fields=["id"], condition=Q(state="running"), name="run_leased"),
            # Also for `state IN (…)`, which no index of a single state serves.
            models.Index(
                fields=["state", "-created_at"],
                condition=~Q(state="completed"),
                name="run_state",
            ),
            # What the admin lists and filters by, however long the history is.
            models.Index(fields=["-created_at", "-id"], name="run_newest"),
            models.Index(fields=["function", "-created_at"], name="run_function"),
            models.Index(
                fields=["error_code", "-created_at"],
                condition=~Q(error_code=""),
                name="run_error_code",
            ),
            # What ended lately, and what is over for long.
            models.Index(
                fields=["state", "-finished_at"],
                condition=Q(finished_at__isnull=False),
                name="run_finished",
            ),
            models.Index(
                fields=["waits_behind"],
                condition=Q(state="failed") & ~Q(waits_behind=""),
                name="run_refused",
            ),
            models.Index(
                fields=["message_lost_at"],
                condition=Q(state="queued"),
                name="run_queued",
            ),
            models.Index(fields=["creator"], condition=Q(holds_slot=True), name="run_slots"),
            models.Index(fields=["released_at"], name="run_released"),
            models.Index(
                fields=["creator", "-released_at"],
                condition=Q(released_at__isnull=False) & ~Q(queue="bulk"),
                name="run_served",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.function} {self.state}"

    @property
    def is_active(self) -> bool:
        """Whether it is not over."""
        return self.state in ACTIVE_STATES

    @property
    def waiting_for(self) -> dict[str, str | None] | None:
        """Why the run waits and until when, or None.

        Of one that is held back from starting, `pauses.with_ends` has loaded until when.
        """
        if self.state != self.State.WAITING:
            return None
        until = self.next_attempt_at or getattr(self, "paused_until", None)
        return {
            "reason": self.waiting_reason or self.Waiting.CAPACITY.value,
            "until": until.isoformat() if until else None,
        }


class Pause(models.Model):
    """What an operator holds back until the pause ends, or is taken away: starts, or calls."""

    class Kind(models.TextChoices):
        """What is held back."""

        ALL = "all"
        QUEUE = "queue"
        FUNCTION = "function"
        CREATOR = "creator"
        #: What a worker takes; others go on.
        WORKER = "worker"
        #: Not starts: the calls of a service, for which runs then wait where they are.
        SERVICE = "service"

    kind = models.CharField(max_length=8, choices=Kind)
    #: The queue, the function, the service, or the worker's id; empty for the others.
    name = StoredCharField(max_length=100, blank=True)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    why = StoredCharField(max_length=300, blank=True)
    #: Who paused it, by name: kept when the account is gone.
    by = StoredCharField(max_length=255, blank=True)
    since = models.DateTimeField(db_default=Now(), editable=False)
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is resumed.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "name", "creator"], name="pause_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(kind="all", name="", creator__isnull=True)
                | Q(kind__in=["queue", "function", "service", "worker"], creator__isnull=True)
                & ~Q(name="")
                | Q(kind="creator", name="", creator__isnull=False),
                name="pause_of_one",
            ),
        ]

    def __str__(self) -> str:
        if self.kind == self.Kind.ALL:
            return "all runs"
        return f"{self.kind} {self.creator if self.creator_id else self.name}"


ACTIVE_STATES = tuple(map(Run.State, _ACTIVE))


class Step(models.Model):
    """The smallest checkpoint of a run: done once, never paid for twice."""

    class State(models.TextChoices):
        """Where the step is."""

        PENDING = "pending"
        RUNNING = "running"
        RETRYING = "retrying"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # `step_key_of_run` begins with it.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_index=False)
    stage = models.CharField(max_length=32)
    key = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    #: Failed attempts that count toward the limit of retries.
    failures = models.PositiveIntegerField(default=0)
    result = models.JSONField(null=True, blank=True)
    error = StoredTextField(blank=True, most=MAX_ERROR_CHARACTERS)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "stage", "key"], name="step_key_of_run")
        ]

    def __str__(self) -> str:
        return f"{self.stage}/{self.key}"
