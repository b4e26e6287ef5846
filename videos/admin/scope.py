"""Whose rows an operator sees: the one place in which the admin asks the operator policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest

from videos.access import operated_creators

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    _Admin = ModelAdmin[Any]
else:
    _Admin = object


class Scoped(_Admin):
    """Holds rows, and what can be done to them, to the creators whose work an operator has.

    Put it before the other classes of an admin.
    """

    #: How a row names its creator; None: rows are the whole site's, for those who operate it all.
    creator_field: str | None = "creator"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out the rows of others, and of nobody."""
        rows: QuerySet[Any] = super().get_queryset(request)
        creators = operated_creators(request.user)
        if creators is None:
            return rows
        if self.creator_field is None:
            return rows.none()
        return rows.filter(**{f"{self.creator_field}__in": creators})

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Let a row be given to one of the operator's creators, and to nobody else."""
        creators = operated_creators(request.user)
        is_held = db_field.name == self.creator_field and creators is not None
        if is_held:
            kwargs["queryset"] = creators
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if is_held and field is not None:
            field.required = True
        return field

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Ask Django's permissions, of what the operator can have rows of."""
        return self.is_open(request) and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask Django's permissions, of what the operator can have rows of."""
        return self.is_open(request) and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask Django's permissions, of what the operator can have rows of."""
        return self.is_open(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask Django's permissions, of what the operator can have rows of."""
        return self.is_open(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask Django's permissions, of what the operator can have rows of."""
        return self.is_open(request) and super().has_delete_permission(request, obj)

    def is_open(self, request: HttpRequest) -> bool:
        """Whether the operator can have any of these rows."""
        return self.creator_field is not None or operated_creators(request.user) is None
