"""In which revisions a search looks, as SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from videos.models import Segment, Video
from videos.text.ranking import Place

#: What stands in an IN (…): ids of revisions, or the query for them; and its parameters.
Scope = tuple[str, tuple[Any, ...]]

#: Of so few videos Postgres can tell that reading all they say is quicker than the index of words.
_FEW = 200
_SPOKEN_BY = """
    SELECT DISTINCT wanted.id
    FROM unnest(%s::bigint[], %s::uuid[], %s::int[], %s::int[])
        AS wanted(id, revision_id, first_segment, last_segment)
    JOIN videos_revision revision ON revision.id = wanted.revision_id
    JOIN videos_segment segment ON segment.transcript_id = revision.transcript_id
        AND segment.index BETWEEN wanted.first_segment AND wanted.last_segment
    WHERE upper(segment.speaker) = upper(%s)
    """


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


def with_speaker(videos: QuerySet[Video], speaker: str) -> QuerySet[Video]:
    """Leave the videos in whose transcript in force somebody of this name speaks."""
    theirs = Segment.objects.exclude(speaker="").filter(
        transcript=OuterRef("revision__transcript"), speaker__iexact=speaker
    )
    return videos.filter(Exists(theirs))


def spoken_by(speaker: str, places: Mapping[int, Place]) -> dict[int, Place]:
    """Leave the passages in which a line of the speaker's is."""
    rows = [
        (each.id, each.revision_id, each.first_segment, each.last_segment)
        for each in places.values()
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _SPOKEN_BY, [*(map(list, zip(*rows, strict=True)) if rows else [[]] * 4), speaker]
        )
        return {key: places[key] for (key,) in cursor.fetchall()}
