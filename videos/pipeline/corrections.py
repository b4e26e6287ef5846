"""People's corrections of a transcript: in force at once, embedded within seconds, never lost.

Every change puts lines in the place of lines, in the revision in force. All that change a video's
transcript hold its lock, so each sees what the one before has made of it; a line has a version,
by which whoever saw an older one is told. Chunks that hold a changed line get their new text in
the same transaction, and their vectors by a run of `refresh_vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from videos.models import Correction, Revision, Segment, Video
from videos.pipeline import chunks
from videos.pipeline.lines import (
    COPIED,
    count_corrections,
    emit,
    hold,
    line_of,
    lines_of,
    put,
    set_line,
)
from videos.text import correcting
from videos.text.correcting import CannotChange, Line
from videos.text.storable import storable

MAX_LINE_CHARACTERS = 5_000
_MAX_SPEAKER_CHARACTERS = 100


class Conflict(Exception):
    """Raised when a line is not any more what its editor saw; holds what it is now, if it is."""

    def __init__(self, line: Segment | None) -> None:
        super().__init__("Somebody else has changed this line meanwhile.")
        self.line = line


@dataclass(frozen=True)
class Seen:
    """A line as its editor saw it."""

    pk: int
    version: int


def rewrite(video: Video, user: Any, seen: Seen, text: str) -> list[Segment]:
    """Give a line another text; return what stands there now.

    Raises:
        Conflict: if it was changed meanwhile.
        CannotChange: if there is no text, or too much.
    """
    return _change(video, user, Correction.Kind.TEXT, [seen], lambda lines: [_new(lines[0], text)])


def split(video: Video, user: Any, seen: Seen, at: int) -> list[Segment]:
    """Split a line before the character `at`; return the two.

    Raises:
        Conflict, CannotChange: as `rewrite`.
    """
    return _change(
        video, user, Correction.Kind.SPLIT, [seen], lambda lines: correcting.split(lines[0], at)
    )


def join(video: Video, user: Any, seen: Seen, following: Seen) -> list[Segment]:
    """Join a line with the one after it; return the one.

    Raises:
        Conflict, CannotChange: as `rewrite`.
    """
    return _change(
        video,
        user,
        Correction.Kind.JOIN,
        [seen, following],
        lambda lines: [correcting.joined(*lines)],
    )


def give_speaker(video: Video, user: Any, seen: Seen, speaker: str) -> list[Segment]:
    """Say who speaks in one line.

    Raises:
        Conflict: if it was changed meanwhile.
    """

    def named(lines: Sequence[Line]) -> list[Line]:
        (line,) = lines
        given = _speaker(speaker)
        if given == line.speaker:
            return [line]
        return [replace(line, speaker=given, machine_text=line.recognized)]

    return _change(video, user, Correction.Kind.SPEAKER, [seen], named)


def rename_speaker(video: Video, user: Any, old: str, new: str) -> int:
    """Rename a speaker in all lines; return how many have changed."""
    new = _speaker(new)
    if new == old:
        return 0
    with _locked(video) as revision:
        changed = {
            segment.index: replace(line_of(segment), speaker=new)
            for segment in lines_of(revision).filter(speaker=old)
        }
        return len(_write(video, revision, user, Correction.Kind.SPEAKER, changed, uuid4()))


@dataclass(frozen=True)
class Replacement:
    """What is looked for, and what takes its place."""

    find: str
    by: str
    match_case: bool = False
    whole_words: bool = True

    @property
    def sought(self) -> str:
        """What is looked for, with single spaces, as lines have them."""
        return " ".join(self.find.split())

    def of(self, text: str) -> str:
        """Return a text after the replacement."""
        return correcting.replaced(
            text, self.sought, self.by, match_case=self.match_case, whole_words=self.whole_words
        )


def matches(videos: QuerySet[Video], wanted: Replacement) -> QuerySet[Segment]:
    """Return the lines in force that may hold what is to be replaced, video by video."""
    in_force = videos.exclude(revision=None).order_by().values("revision__transcript_id")
    return (
        Segment.objects.filter(transcript__in=in_force)
        .filter(text__icontains=wanted.sought)
        .select_related("transcript__video")
        .order_by("transcript__video_id", "index")
    )


def replace_all(
    video: Video, user: Any, wanted: Replacement, chosen: Iterable[int], batch: UUID
) -> int:
    """Replace in the chosen lines (by their keys) of a video; return how many have changed.

    What was changed since the preview, and holds it no more, is left as it is.
    """
    with _locked(video) as revision:
        changed = {}
        for segment in lines_of(revision).filter(pk__in=list(chosen)):
            text = wanted.of(segment.text)
            if text.strip() and text != segment.text:
                changed[segment.index] = _new(line_of(segment), text)
        return len(_write(video, revision, user, Correction.Kind.REPLACE, changed, batch))


def restore(correction: Correction, user: Any) -> None:
    """Take a change back, with all of its batch in this video.

    Raises:
        Conflict: if something of it was changed again since; that is to be taken back first.
        CannotChange: if the video has no transcript any more.
    """
    video = correction.video
    with _locked(video) as revision:
        same = Correction.objects.filter(video=video, restored_at=None)
        rows = same.filter(batch=correction.batch) if correction.batch else same
        if not correction.batch:
            rows = rows.filter(pk=correction.pk)
        changes, changed = [], set()
        for row in rows.order_by("-created_at", "-id"):
            after, before = ([Line(**each) for each in lines] for lines in (row.after, row.before))
            rows_now = put(revision, _standing(revision, after), before)
            changes.append((after, before))
            changed |= {segment.index for segment in rows_now}
        taken_back = uuid4() if correction.batch else None
        _record(video, user, Correction.Kind.RESTORE, changes, taken_back)
        rows.update(restored_at=Now())
        _refresh(video, revision, changed)


@contextmanager
def _locked(video: Video) -> Iterator[Revision]:
    """Yield the revision in force, locked against other changes, in a transaction of its own."""
    with transaction.atomic():
        # The row before the text, as guards do: else each could wait for the other.
        locked = Video.objects.select_for_update(no_key=True, of=("self",))
        video.refresh_from_db(fields=["revision"], from_queryset=locked)
        hold(video.pk)
        revisions = Revision.objects.select_related("transcript")
        in_force = {"pk": video.revision_id, "transcript__isnull": False}
        revision = revisions.filter(**in_force).first()
        if revision is None:
            raise CannotChange("This video has no transcript yet.")
        yield revision


def _new(line: Line, text: str) -> Line:
    if len(text) > MAX_LINE_CHARACTERS:
        raise CannotChange(f"A line has {MAX_LINE_CHARACTERS} characters at the most: split it.")
    return correcting.rewritten(line, storable(text))


def _speaker(name: str) -> str:
    return " ".join(storable(name).split())[:_MAX_SPEAKER_CHARACTERS]


def _change(
    video: Video,
    user: Any,
    kind: Correction.Kind,
    seen: Sequence[Seen],
    change: Callable[[Sequence[Line]], Sequence[Line]],
) -> list[Segment]:
    """Put what `change` makes of some lines in their place, if they are what was seen."""
    with _locked(video) as revision:
        found = []
        for each in seen:
            segment = lines_of(revision).filter(pk=each.pk).first()
            if segment is None or segment.version != each.version:
                raise Conflict(segment)
            found.append(segment)
        indexes = [segment.index for segment in found]
        if indexes != list(range(indexes[0], indexes[0] + len(found))):
            raise CannotChange("Only lines that follow each other can be joined.")
        before = [line_of(segment) for segment in found]
        after = list(change(before))
        if after == before:
            return found
        written = put(revision, found, after)
        _record(video, user, kind, [(before, after)])
        _refresh(video, revision, {row.index for row in written})
        return written


def _write(
    video: Video,
    revision: Revision,
    user: Any,
    kind: Correction.Kind,
    changed: Mapping[int, Line],
    batch: UUID,
) -> list[Segment]:
    """Give lines, by their indexes, other words or speakers; none comes or goes."""
    rows = list(lines_of(revision).filter(index__in=changed))
    _record(video, user, kind, [([line_of(row)], [changed[row.index]]) for row in rows], batch)
    for row in rows:
        set_line(row, changed[row.index])
    Segment.objects.bulk_update(rows, [*COPIED, "version"], batch_size=500)
    _refresh(video, revision, {row.index for row in rows})
    return rows


def _standing(revision: Revision, lines: Sequence[Line]) -> list[Segment]:
    """Return the segments that hold just these lines; others may begin with them.

    Raises:
        Conflict: if they were changed since.
    """
    found = list(
        lines_of(revision).filter(
            start__gte=lines[0].start - 0.001, start__lte=lines[-1].start + 0.001
        )
    )
    wanted = [(line.text, line.speaker) for line in lines]
    said = [(row.text, row.speaker) for row in found]
    for at in range(len(found) - len(lines) + 1):
        if said[at : at + len(lines)] == wanted:
            return found[at : at + len(lines)]
    raise Conflict(found[0] if found else None)


def _record(
    video: Video,
    user: Any,
    kind: Correction.Kind,
    changes: Sequence[tuple[Sequence[Line], Sequence[Line]]],
    batch: UUID | None = None,
) -> None:
    """Write down what was there, and what is there now, of each change."""
    Correction.objects.bulk_create(
        (
            Correction(
                video=video,
                user=user,
                user_name=user.get_username(),
                kind=kind,
                batch=batch,
                start=min(line.start for line in before),
                end=max(line.end for line in before),
                before=[line.as_json() for line in before],
                after=[line.as_json() for line in after],
            )
            for before, after in changes
        ),
        batch_size=500,
    )


def _refresh(video: Video, revision: Revision, changed: Collection[int]) -> None:
    """Give chunks that hold changed lines their new texts, and have those embedded again."""
    if not changed:
        return
    same = _of_transcript(revision)
    if sum(chunks.rewrite(each, changed) for each in same):
        emit(video)
    _drop_warnings(video, revision)
    count_corrections(video, [each.pk for each in same])


def _of_transcript(revision: Revision) -> list[Revision]:
    """Return the revision in force, and others that are just made of the same transcript."""
    same = Revision.objects.select_related("transcript")
    return list(same.filter(transcript=revision.transcript_id, chunked_at__isnull=False))


def _drop_warnings(video: Video, revision: Revision) -> None:
    """Warn no more of lines that nobody doubts any more."""
    doubted = set(lines_of(revision).exclude(doubt="").values_list("start", flat=True))
    video.refresh_from_db(fields=["warnings"])
    left = [
        warning
        for warning in video.warnings
        if warning["code"] != "suspicious_text" or warning["start"] in doubted
    ]
    if left != video.warnings:
        Video.objects.filter(pk=video.pk).update(warnings=left)
