"""By what the lists of videos and runs are narrowed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from videos.exceptions import ChronosError, ConfigurationFault, FileFault, RunFault, ServiceFault
from videos.models import Run

_FAULTS: dict[str, type[ChronosError]] = {
    "file": FileFault,
    "configuration": ConfigurationFault,
    "service": ServiceFault,
    "machine": RunFault,
}
_TIMES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
#: Without one, no index of the time at which a run ended serves.
_ENDED = (Run.State.COMPLETED, Run.State.FAILED, Run.State.CANCELLED, Run.State.REPLACED)


def error_codes(base: type[ChronosError] = ChronosError) -> set[str]:
    """Return the codes of an error and of all that are of its kind."""
    return {base.code}.union(*(error_codes(kind) for kind in base.__subclasses__()))


class FaultFilter(admin.SimpleListFilter):
    """Filters by whose fault the failure was."""

    title = "whose fault"
    parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name who can be at fault."""
        return [(name, f"the {name}'s") for name in _FAULTS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows with an error of the one that was chosen."""
        chosen = _FAULTS.get(self.value() or "")
        if chosen is None:
            return queryset
        # What nobody expected is the machine's, whatever it is; kinds without a code have its code.
        codes = error_codes(chosen) - {ChronosError.code}
        return queryset.filter(
            error_code__in=codes | ({ChronosError.code} if chosen is RunFault else set())
        )


def ended_filter(keep: Callable[[QuerySet[Any], Any], QuerySet[Any]]) -> type[admin.ListFilter]:
    """Return a filter by when processing ended; `keep` narrows the rows to a time."""

    class EndedFilter(admin.SimpleListFilter):
        title = "when it ended"
        parameter_name = "ended"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(name, f"in the last {name}") for name in _TIMES]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            chosen = _TIMES.get(self.value() or "")
            return keep(queryset, Now() - chosen) if chosen else queryset

    return EndedFilter


def runs_since(runs: QuerySet[Run], since: Any) -> QuerySet[Run]:
    """Keep the runs that ended since then."""
    return runs.filter(state__in=_ENDED, finished_at__gt=since)


def videos_since(videos: QuerySet[Any], since: Any) -> QuerySet[Any]:
    """Keep the videos of which a run ended since then."""
    return videos.filter(pk__in=runs_since(Run.objects.all(), since).values("video"))


class WaitingFilter(admin.SimpleListFilter):
    """Filters runs by why they wait."""

    title = "why it waits"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the reasons."""
        return [(reason, reason) for reason in Run.Waiting.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those that wait for it: by the state, which has an index."""
        chosen = self.value()
        waiting = queryset.filter(state=Run.State.WAITING, waiting_reason=chosen)
        return waiting if chosen else queryset


class WarningsFilter(admin.SimpleListFilter):
    """Filters by whether a video has something to be looked at."""

    title = "warnings"
    parameter_name = "warnings"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """With or without."""
        return [("yes", "with"), ("no", "without")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those with, or those without."""
        if self.value() not in ("yes", "no"):
            return queryset
        none = queryset.filter(warnings=[])
        return none if self.value() == "no" else queryset.exclude(warnings=[])
