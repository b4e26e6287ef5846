"""In which revisions a search looks, as SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from videos.models import Passage, Segment, Video
from videos.text.ranking import Place

#: The ids of so few revisions are written out, so that Postgres knows how much is said there.
_FEW = 200
#: The lines of places (`lines_of`), each found by its number: by ranges of them, Postgres reads
#: whole transcripts.
LINES_OF_PLACES = """
    unnest(%s::bigint[], %s::uuid[], %s::int[]) AS wanted(id, revision_id, line)
    JOIN videos_revision revision ON revision.id = wanted.revision_id
    JOIN videos_segment segment
        ON segment.transcript_id = revision.transcript_id AND segment.index = wanted.line
    """
#: Passages that are read in a few milliseconds; an hour of talk has about 400.
_SMALL = 10_000
_SIZE = f"""
    SELECT count(*) FROM (
        SELECT FROM {Passage._meta.db_table} WHERE revision_id IN ({{revisions}})
        LIMIT {_SMALL + 1}
    ) AS said
    """
_SPOKEN_BY = f"""
    SELECT wanted.id, segment.text FROM {LINES_OF_PLACES}
    WHERE upper(segment.speaker) = upper(%s)
    """


@dataclass(frozen=True)
class Scope:
    """What stands in an IN (…): the ids of few revisions, or the query for many."""

    sql: str
    params: tuple[Any, ...]
    is_few: bool

    @cached_property
    def is_small(self) -> bool:
        """Whether so little is said there that all of it is read sooner than frequent words are."""
        if not self.is_few:
            return False
        with connection.cursor() as cursor:
            cursor.execute(_SIZE.format(revisions=self.sql), self.params)
            return bool(cursor.fetchone()[0] <= _SMALL)


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
        return Scope(", ".join(["%s"] * len(few)), tuple(few), is_few=True)
    return Scope(*in_force.query.sql_with_params(), is_few=False)


def lines_of(places: Iterable[Place], run_on: int = 0) -> list[list[Any]]:
    """Return the parameters of `LINES_OF_PLACES`, with some lines that follow each place."""
    rows = [
        (each.id, each.revision_id, line)
        for each in places
        for line in range(each.first_segment, each.last_segment + run_on + 1)
    ]
    return [list(column) for column in zip(*rows, strict=True)] or [[], [], []]


def with_speaker(videos: QuerySet[Video], speaker: str) -> QuerySet[Video]:
    """Leave the videos in whose transcript in force somebody of this name speaks."""
    theirs = Segment.objects.exclude(speaker="").filter(
        transcript=OuterRef("revision__transcript"), speaker__iexact=speaker
    )
    return videos.filter(Exists(theirs))


def spoken_by(speaker: str, places: Iterable[Place]) -> dict[int, str]:
    """Return what the speaker says in passages, by their ids; those without it are left out."""
    said: dict[int, str] = {}
    with connection.cursor() as cursor:
        cursor.execute(_SPOKEN_BY, [*lines_of(places), speaker])
        for key, text in cursor.fetchall():
            said[key] = f"{said[key]} {text}" if key in said else text
    return said
