"""Columns for texts that come from outside: whatever is said, Postgres can store it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from videos.text.storable import storable

if TYPE_CHECKING:
    _TextField = models.TextField[Any, str]
    _CharField = models.CharField[Any, str]
else:
    _TextField, _CharField = models.TextField, models.CharField


class StoredTextField(_TextField):
    """A text in which what Postgres refuses is replaced, and of which `most` characters stay.

    For migrations it is Django's own TextField: nothing of it is known to the database.
    """

    def __init__(self, *args: Any, most: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most = most

    def get_prep_value(self, value: Any) -> Any:
        """Return what is sent to the database."""
        prepared = super().get_prep_value(value)
        return storable(prepared)[: self.most] if isinstance(prepared, str) else prepared

    def deconstruct(self) -> Any:
        """Describe the column as what it is to the database."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class StoredCharField(_CharField):
    """A short text: the same, cut at its `max_length` instead of refused by Postgres."""

    def get_prep_value(self, value: Any) -> Any:
        """Return what is sent to the database."""
        prepared = super().get_prep_value(value)
        return storable(prepared)[: self.max_length] if isinstance(prepared, str) else prepared

    def deconstruct(self) -> Any:
        """Describe the column as what it is to the database."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs
