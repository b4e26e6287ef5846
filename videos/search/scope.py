"""In which revisions a search looks, as SQL."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from videos.models import Video

#: A query for the ids of revisions, and its parameters.
Scope = tuple[str, tuple[Any, ...]]


def scope(videos: QuerySet[Video]) -> Scope:
    """Return the query of the revisions in force.

    Raises:
        EmptyResultSet: if no video can be among them.
    """
    in_force = videos.exclude(revision=None).order_by().values("revision_id")
    return in_force.query.sql_with_params()
