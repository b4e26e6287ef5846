"""Lists of what only grows: searched, filtered and counted without reading a whole history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme

from videos.access import operated_creators

#: Failed runs, videos or creators of which a search shows the rows.
FOUND = 1_000
_MAX_COUNTED = 10_000
_MAX_CREATORS = 100


class ReadOnly:
    """Job rows are written by workers alone; deleting a video deletes its own."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody add one."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody edit one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody delete one by itself."""
        return False


class _Many(int):
    """A count that was not finished: says so wherever it is shown."""

    def __str__(self) -> str:
        return f"more than {int(self)}"


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to 10,000 rows; who wants older ones filters by time."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, as far as they are counted."""
        rows: Any = self.object_list
        counted: int = rows.order_by().values("pk")[: _MAX_COUNTED + 1].count()
        return counted if counted <= _MAX_COUNTED else _Many(_MAX_COUNTED)


class HistoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The list of a table that only grows; sorted by time alone, for which there is an index."""

    class Media:
        css: ClassVar = {"all": ["videos/control_room.css"]}

    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False
    search_help_text = "An id, as a whole."
    #: The columns that a searched id may stand in.
    id_fields: tuple[str, ...] = ("pk",)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Go back to the page whose button was pressed, where that was not the list."""
        answer = super().response_action(request, *args, **kwargs)
        back = request.POST.get("back", "")
        is_done = isinstance(answer, HttpResponseRedirect)
        if is_done and url_has_allowed_host_and_scheme(back, allowed_hosts=None):
            return HttpResponseRedirect(back)
        return answer

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Let the columns of time alone be sorted by."""
        return [
            str(name)
            for name in self.list_display
            if str(name) in ("created", "created_at", "sent_at")
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find an id by its indexes; a word by what `search_words` knows."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            wanted = UUID(term)
        except ValueError:
            return queryset.filter(self.search_words(term.replace("\0", ""))), False
        found = Q()
        for name in self.id_fields:
            found |= Q(**{name: wanted})
        return queryset.filter(found), False

    def search_words(self, words: str) -> Q:
        """Return the condition that finds words; it must not read a whole history."""
        return Q(pk__in=[])


def known_values(parameter: str, values: Callable[[], Iterable[str]]) -> type[admin.ListFilter]:
    """Return a filter whose choices are known without asking a million rows for them."""

    class KnownValues(admin.SimpleListFilter):
        title = parameter.replace("_", " ")
        parameter_name = parameter

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in sorted(set(values()))]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            chosen = self.value()
            return queryset.filter(**{parameter: chosen}) if chosen else queryset

    return KnownValues


class CreatorFilter(admin.SimpleListFilter):
    """Filters by the first hundred creators who have any of the rows; others are searched for."""

    title = "creator"
    parameter_name = "creator"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name those who have rows; each is looked for in the rows' index."""
        users = model_admin.model._meta.get_field("creator").related_model
        theirs = model_admin.model._base_manager.filter(creator=OuterRef("pk"))
        creators = operated_creators(request.user)
        known = users._default_manager.all() if creators is None else creators
        having = known.filter(Exists(theirs)).order_by(users.USERNAME_FIELD)
        return [(str(user.pk), user.get_username()) for user in having[:_MAX_CREATORS]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows of the one that was chosen."""
        chosen = self.value()
        return queryset.filter(creator=chosen) if chosen else queryset
