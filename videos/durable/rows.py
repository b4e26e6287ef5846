"""Rows of a model that SQL of ours selects, where something is asked many times for each run.

Django compiles each query anew, which takes several times what Postgres needs for one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model

Row = TypeVar("Row", bound=Model)


class Rows(Generic[Row]):
    """Makes rows of a model of what is selected as its `columns`, of a table with this alias."""

    def __init__(self, model: type[Row], alias: str) -> None:
        fields = model._meta.concrete_fields
        quoted = [connection.ops.quote_name(str(field.column)) for field in fields]
        self.columns = ", ".join(f"{alias}.{name}" for name in quoted)
        self.width = len(fields)
        self._model = model
        self._names = [field.attname for field in fields]
        self._converters = [
            (at, field.from_db_value)
            for at, field in enumerate(fields)
            if hasattr(field, "from_db_value")
        ]

    def made(self, selected: Sequence[Any]) -> Row:
        """Return the row that was selected."""
        values = list(selected)
        for at, convert in self._converters:
            values[at] = convert(values[at], None, connection)
        return self._model.from_db(connection.alias, self._names, values)
