"""Workers in the admin: which live, and whether they take anything more."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from videos.admin.histories import ReadOnly
from videos.admin.scope import Scoped
from videos.durable import admission, pauses
from videos.durable.capacity import live_workers
from videos.models import Pause, Worker


@admin.register(Worker)
class WorkerAdmin(Scoped, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """The worker processes, those included that fell silent and were not noticed yet."""

    creator_field = None

    list_display = (
        *("__str__", "is_alive", "takes", "queues", "threads", "stuck_threads"),
        *("release", "clock", "started_at", "last_seen"),
    )
    actions = ("pause", "resume", "drain")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Show the newest first, with what is asked of each."""
        live = live_workers().filter(pk=OuterRef("pk"))
        paused = pauses.of_worker(OuterRef("pk"))
        rows: QuerySet[Worker] = super().get_queryset(request).order_by("-started_at")
        return rows.annotate(is_live=Exists(live), is_paused=Exists(paused))

    @admin.display(boolean=True, description="alive")
    def is_alive(self, worker: Any) -> bool:
        """Whether its heartbeat is fresh."""
        return bool(worker.is_live)

    @admin.display(description="takes runs")
    def takes(self, worker: Any) -> str:
        """Whether somebody asked it to take nothing more."""
        if worker.drain_requested:
            return "no, it ends after its calls"
        return "no, it is paused" if worker.is_paused else "yes"

    @admin.display(description="clock")
    def clock(self, worker: Any) -> str:
        """How far its machine's clock is from the database's."""
        return f"{worker.clock_ahead_s:+.1f} s" if worker.is_clock_off else "right"

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change workers, though nothing of theirs can be edited."""
        return request.user.has_perm("videos.change_worker")

    @admin.action(description="Pause: take nothing more until resumed", permissions=["steer"])
    def pause(self, request: HttpRequest, rows: QuerySet[Worker]) -> None:
        """Hold the selected ones back; others take what they would have taken."""
        for worker in rows:
            pauses.begin(Pause.Kind.WORKER, str(worker.pk), by=request.user.get_username())
        self._said(request, rows, "paused")

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, rows: QuerySet[Worker]) -> None:
        """Take the pauses of the selected ones away."""
        names = [str(worker.pk) for worker in rows]
        pauses.end(Pause.objects.filter(kind=Pause.Kind.WORKER, name__in=names))
        admission.admit()
        self._said(request, rows, "resumed")

    @admin.action(description="Drain: end after the calls in flight", permissions=["steer"])
    def drain(self, request: HttpRequest, rows: QuerySet[Worker]) -> None:
        """Have the selected ones end, once what they have asked for has come."""
        Worker.objects.filter(pk__in=[worker.pk for worker in rows]).update(drain_requested=True)
        self._said(request, rows, "asked to end")

    def _said(self, request: HttpRequest, rows: QuerySet[Worker], became: str) -> None:
        for worker in rows:
            self.log_change(request, worker, f"{became.capitalize()}.")
        self.message_user(request, f"{len(rows)} worker(s) {became}; they know within seconds.")
