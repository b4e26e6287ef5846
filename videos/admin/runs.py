"""Runs in the admin: what was executed, step by step; stopped, hurried, run again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import dramatiq
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from videos.admin import control_room
from videos.admin.filters import FaultFilter, WaitingFilter, ended_filter, error_codes, runs_since
from videos.admin.histories import FOUND, HistoryAdmin, ReadOnly, known_values
from videos.admin.scope import Scoped
from videos.admin.shown import cost_of, folded, links, when
from videos.durable import interventions
from videos.durable.models import ACTIVE_STATES
from videos.durable.registry import registry
from videos.models import Call, Run, Step, Video

_SHOWN_STEPS = 500
_SHOWN_CHILDREN = 20


class StepInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The steps of a run, in the order in which they began."""

    model = Step
    extra = 0
    fields = ("stage", "key", "state", "attempts", "failures", "began", "took", "made", "error")
    readonly_fields = fields

    @admin.display(description="began")
    def began(self, step: Step) -> str:
        """Return when, to the millisecond."""
        return f"{localtime(step.started_at):%Y-%m-%d %H:%M:%S.%f}"[:-3] if step.started_at else "–"

    @admin.display(description="result")
    def made(self, step: Step) -> SafeString | str:
        """Show what it has made, for as long as a person wants to see it."""
        return folded(step.result)

    @admin.display(description="took")
    def took(self, step: Step) -> str:
        """Return for how long it has worked, its pauses between attempts included."""
        if step.started_at is None:
            return "–"
        took = (step.finished_at or timezone.now()) - step.started_at
        return f"{took.total_seconds():.3f} s"


@admin.register(Run)
class RunAdmin(Scoped, ReadOnly, HistoryAdmin):
    """What was executed, step by step."""

    id_fields = ("pk", "video_id")
    search_help_text = "The id of a run or of its video, or words of its error or video's title."

    list_display = (
        *("created", "state", "waits_for", "error_code", "video", "function", "stage"),
        *("next_attempt_at", "attempt", "finished_at"),
    )
    list_filter = (
        "state",
        known_values("function", lambda: registry.functions),
        known_values("queue", lambda: dramatiq.get_broker().get_declared_queues()),
        WaitingFilter,
        known_values("error_code", error_codes),
        FaultFilter,
        ended_filter(runs_since),
        "created_at",
    )
    search_fields = ("error",)
    list_select_related = ("video",)
    actions = ("cancel", "run_now")
    inlines = (StepInline,)
    fieldsets = (
        (None, {"fields": ("function", "video", "creator", "event", "state", "stage")}),
        (
            "Outcome",
            {
                "fields": (
                    *("error_code", "error", "cost", "created_at", "started_at", "finished_at"),
                    *("started", "started_by"),
                )
            },
        ),
        (
            "Waiting and retries",
            {"fields": ("waiting_reason", "next_attempt_at", "attempt", "deaths", "priority")},
        ),
        (
            "Claim",
            {
                "classes": ("collapse",),
                "fields": (
                    *("queue", "input", "worker", "token", "lease_until", "deadline_at"),
                    *("holds_slot", "released_at", "message_lost_at", "requeues"),
                    *("cancel_requested", "revision", "parent"),
                ),
            },
        ),
    )

    change_form_template = "admin/videos/run/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the control room, and running one again."""
        site = self.admin_site.admin_view
        return [
            path("overview/", site(control_room.overview), name="videos_run_overview"),
            path("<uuid:run_id>/again/", site(self.run_again), name="videos_run_again"),
            *super().get_urls(),
        ]

    def search_words(self, words: str) -> Q:
        """Look among the failed runs, and those of videos with such a title."""
        failed = Run.objects.exclude(error_code="").filter(error__icontains=words)
        titled = Video.objects.filter(title__icontains=words)
        run_ids, video_ids = (
            list(rows.order_by("-created_at").values_list("pk", flat=True)[:FOUND])
            for rows in (failed, titled)
        )
        return Q(pk__in=run_ids) | Q(video__in=video_ids)

    readonly_fields = ("cost", "started", "started_by", "input")

    @admin.display(description="created", ordering="created_at")
    def created(self, run: Run) -> str:
        """Show the time alone of what is today's: a phone has no room for more."""
        return when(run.created_at) if run.created_at else "–"

    @admin.display(description="input")
    def input(self, run: Run) -> SafeString | str:
        """Show the data, for as long as a person wants to see it."""
        return folded(run.data)

    @admin.display(description="cost")
    def cost(self, run: Run) -> str:
        """Sum what the run's calls cost, from the ledger."""
        if run.video_id:
            theirs = Q(video_id=run.video_id, run_id=run.pk, state=Call.State.ANSWERED)
        else:  # The index of steps has the calls alone whose answers were used.
            steps = run.steps.values_list("pk", flat=True)[:_SHOWN_STEPS]
            theirs = Q(step_id__in=list(steps), used=True)
        return cost_of(Call.objects.filter(theirs))

    @admin.display(description="its failure is handled by")
    def started(self, run: Run) -> SafeString | str:
        """Link to the runs that were started by its failure."""
        return links(run.handlers.all()[:_SHOWN_CHILDREN]) or "–"

    @admin.display(description="handles the failure of")
    def started_by(self, run: Run) -> SafeString | str:
        """Link to the run whose failure it handles."""
        return links([run.parent] if run.parent else []) or "–"

    @admin.display(description="waits for")
    def waits_for(self, run: Run) -> str:
        """Return why the run waits."""
        waiting = run.waiting_for
        return str(waiting["reason"]) if waiting else ""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let runs go with their video or creator, on whose pages this is asked as well."""
        page = request.resolver_match
        return page is not None and not (page.url_name or "").startswith("videos_run_")

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change runs, though nothing of theirs can be edited."""
        return request.user.has_perm("videos.change_run")

    @admin.action(description="Cancel", permissions=["steer"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Run]) -> None:
        """Stop the selected runs: waiting ones at once, running ones at their next step."""
        stopped = interventions.cancel(rows.filter(state__in=ACTIVE_STATES))
        for run in stopped:
            self.log_change(request, run, "Cancelled.")
        self.message_user(request, f"{len(stopped)} runs are being cancelled.")

    @admin.action(description="Run now", permissions=["steer"])
    def run_now(self, request: HttpRequest, rows: QuerySet[Run]) -> None:
        """Have those that are tried again later, or wait until a time, go on at once."""
        count = interventions.run_now(rows.values_list("pk", flat=True))
        self.message_user(request, f"{count} runs go on now.")

    def run_again(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Ask from which step, and with which input; show what that cost last time; run it."""
        run: Run = get_object_or_404(self.get_queryset(request), pk=run_id)
        if not self.has_steer_permission(request):
            raise PermissionDenied
        form = RunAgainForm(run, request.POST or None)
        if request.method == "POST" and form.is_valid() and (again := form.start()):
            self.log_change(request, run, f"Run again as {again.pk}.")
            return redirect("admin:videos_run_change", again.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Run {run.function} again",
            "opts": self.opts,
            "original": run,
            "form": form,
        }
        return TemplateResponse(request, "admin/videos/run/again.html", context)


class RunAgainForm(forms.Form):
    """From which step, and with which input."""

    from_step = forms.ChoiceField(required=False, label="From")
    given = forms.JSONField(label="Input", widget=forms.Textarea(attrs={"rows": 8}))

    def __init__(self, run: Run, posted: Any) -> None:
        super().__init__(posted, initial={"given": run.data})
        self._run = run
        chosen = self.fields["from_step"]
        assert isinstance(chosen, forms.ChoiceField)
        chosen.choices = [("", "the beginning"), *_costs_by_step(run)]

    def start(self) -> Run | None:
        """Start the new run; None where it is refused, which the form then says."""
        try:
            return interventions.rerun(
                self._run, self.cleaned_data["given"], self.cleaned_data["from_step"] or None
            )
        except ValueError as error:
            self.add_error(None, str(error))
            return None


def _costs_by_step(run: Run) -> list[tuple[str, str]]:
    """Return a run's steps in their order, each with what it and those after it cost last time."""
    steps = list(run.steps.order_by(F("started_at").asc(nulls_last=True), "id")[:_SHOWN_STEPS])
    calls = Call.objects.filter(step_id__in=[step.pk for step in steps], used=True)
    costs = dict(calls.order_by().values_list("step_id").annotate(Sum("cost_usd")))
    choices = []
    left = sum(costs.values())
    for step in steps:
        choices.append((step.key, f"{step.key} (cost ${left:.4f})"))
        left -= costs.get(step.pk, 0)
    return choices
