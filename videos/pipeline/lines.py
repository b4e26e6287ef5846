"""The lines of a transcript as rows: put in the place of others, with all that refers to them.

Whoever changes a video's lines holds its lock (`hold`) until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet

from videos import events
from videos.durable import transactions
from videos.models import Chunk, Correction, Embedding, Revision, Segment, Video
from videos.text.correcting import Line

#: No transcript has so many lines: what moves takes this way past the others.
_ASIDE = 10_000_000
COPIED = ("start", "end", "text", "speaker", "doubt", "timing", "words", "machine_text")


def hold(video_id: UUID) -> None:
    """Let others who would change the transcript wait until this transaction ends."""
    transactions.hold_text(f"transcript of {video_id}")


def line_of(segment: Segment) -> Line:
    """Return a segment as the line that people edit."""
    return Line(**{name: getattr(segment, name) for name in COPIED})


def lines_of(revision: Revision) -> QuerySet[Segment]:
    """Return the lines of a revision's transcript, in their order."""
    return Segment.objects.filter(transcript=revision.transcript_id).order_by("index")


def set_line(row: Segment, line: Line) -> None:
    """Give a row what a line says, and a version of its own; it is still to be saved."""
    for name in COPIED:
        setattr(row, name, getattr(line, name))
    row.version += 1


def put(revision: Revision, found: Sequence[Segment], lines: Sequence[Line]) -> list[Segment]:
    """Put lines in the place of segments that follow each other; what comes after moves."""
    first, more = found[0].index, len(lines) - len(found)
    kept = list(found[: len(lines)])
    lines_of(revision).filter(pk__in=[row.pk for row in found[len(lines) :]]).delete()
    if more:
        _move(revision, first + len(found), more)
    for row, line in zip(kept, lines, strict=False):
        set_line(row, line)
        row.save()
    assert revision.transcript is not None
    added = [
        Segment(
            transcript=revision.transcript,
            index=first + len(kept) + number,
            version=1,
            **{name: getattr(line, name) for name in COPIED},
        )
        for number, line in enumerate(lines[len(kept) :])
    ]
    Segment.objects.bulk_create(added)
    return [*kept, *added]


def _move(revision: Revision, begin: int, by: int) -> None:
    """Give all lines from `begin` on other indexes, and what refers to them.

    Unique indexes are checked row by row, so all of it goes past the others first. Where lines
    were joined, what referred to one that is gone refers to the one that it is in now.
    """
    _shift(lines_of(revision), "index", begin, by)
    same = Revision.objects.filter(transcript=revision.transcript_id).values("pk")
    passages = Embedding.objects.filter(chunk__revision__in=same)
    of_them = Chunk.objects.filter(revision__in=same)
    gone = (begin + by, begin - 1)
    if by < 0:
        # A passage that began at a line that is gone is embedded again with its chunk.
        passages.filter(segment_index__range=gone).delete()
    _shift(passages, "segment_index", begin, by)
    for name in ("first_segment", "last_segment"):
        of_them.filter(**{f"{name}__gte": begin}).update(**{name: F(name) + by})
        if by < 0:
            of_them.filter(**{f"{name}__range": gone}).update(**{name: begin + by - 1})
    if by > 0:
        # A line that was split at the end of its chunk ends there still.
        of_them.filter(last_segment=begin - 1).update(last_segment=begin - 1 + by)


def _shift(rows: QuerySet[Any], name: str, begin: int, by: int) -> None:
    rows.order_by().filter(**{f"{name}__gte": begin}).update(**{name: F(name) + _ASIDE})
    far = rows.order_by().filter(**{f"{name}__gte": _ASIDE})
    far.update(**{name: F(name) - _ASIDE + by})


def count_corrections(video: Video, revision_ids: Sequence[UUID]) -> None:
    """Have revisions know of all corrections that there are of the video."""
    count = Correction.objects.filter(video=video).count()
    Revision.objects.filter(pk__in=revision_ids).update(corrections=count)


def emit(video: Video) -> None:
    """Say that the transcript in force has changed: its vectors follow."""
    events.emit("video/transcript.corrected", video_id=video.pk, creator_id=video.creator_id)
