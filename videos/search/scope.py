"""In which revisions a search looks, as SQL."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from videos.models import Video

#: What stands in an IN (…): ids of revisions, or the query for them; and its parameters.
Scope = tuple[str, tuple[Any, ...]]

#: Of so few videos Postgres can tell that reading all they say is quicker than the index of words.
_FEW = 200


def scope(videos: QuerySet[Video]) -> Scope:
    """Return the revisions in force: few by their ids, many by the query for them.

    Raises:
        EmptyResultSet: if there are none.
    """
    in_force = videos.exclude(revision=None).order_by().values_list("revision_id", flat=True)
    few = list(in_force[: _FEW + 1])
    if not few:
        raise EmptyResultSet
    if len(few) <= _FEW:
        return ", ".join(["%s"] * len(few)), tuple(few)
    return in_force.query.sql_with_params()
