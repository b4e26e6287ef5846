"""People's corrections of a transcript: in force at once, embedded within seconds, never lost.

Every change puts lines in the place of lines, in the revision in force. All that change a video's
transcript hold its lock, so each sees what the one before has made of it; a line has a version,
by which whoever saw an older one is told. Chunks that hold a changed line get their new text in
the same transaction, and their vectors by a run of `refresh_vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from videos import events
from videos.durable import transactions
from videos.models import Chunk, Correction, Embedding, Revision, Segment, UnfitCorrection, Video
from videos.pipeline import chunks
from videos.pipeline.vectors import configured_space
from videos.text import correcting
from videos.text.correcting import CannotChange, Line
from videos.text.storable import storable

MAX_LINE_CHARACTERS = 5_000
_MAX_SPEAKER_CHARACTERS = 100
#: No transcript has so many lines: what moves takes this way past the others.
_ASIDE = 10_000_000
#: Times are kept to the thousandth.
_SAME_S = 0.0015
_COPIED = ("start", "end", "text", "speaker", "doubt", "timing", "words", "machine_text")


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


def line_of(segment: Segment) -> Line:
    """Return a segment as the line that people edit."""
    return Line(**{name: getattr(segment, name) for name in _COPIED})


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
        recognized = line.text if line.machine_text is None else line.machine_text
        given = {"speaker": _speaker(speaker), "machine_text": recognized}
        return [Line(**{**line.as_json(), **given})]

    return _change(video, user, Correction.Kind.SPEAKER, [seen], named)


def rename_speaker(video: Video, user: Any, old: str, new: str) -> int:
    """Rename a speaker in all lines; return how many there are."""
    with _locked(video) as revision:
        theirs = _lines(revision).filter(speaker=old)
        batch, new = uuid4(), _speaker(new)
        return len(
            _write(
                video,
                revision,
                user,
                Correction.Kind.SPEAKER,
                {
                    segment.index: Line(**{**line_of(segment).as_json(), "speaker": new})
                    for segment in theirs
                },
                batch,
            )
        )


@dataclass(frozen=True)
class Replacement:
    """What is looked for, and what takes its place."""

    find: str
    by: str
    match_case: bool = False
    whole_words: bool = True

    def of(self, text: str) -> str:
        """Return a text after the replacement."""
        return correcting.replaced(
            text, self.find, self.by, match_case=self.match_case, whole_words=self.whole_words
        )


def matches(videos: QuerySet[Video], wanted: Replacement) -> QuerySet[Segment]:
    """Return the lines in force that may hold what is to be replaced, video by video."""
    in_force = videos.exclude(revision=None).order_by().values("revision__transcript_id")
    return (
        Segment.objects.filter(transcript__in=in_force)
        .filter(text__icontains=wanted.find)
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
        for segment in _lines(revision).filter(pk__in=list(chosen)):
            text = wanted.of(segment.text)
            if text.strip() and text != segment.text:
                changed[segment.index] = _new(line_of(segment), text)
        return len(_write(video, revision, user, Correction.Kind.REPLACE, changed, batch))


def restore(correction: Correction, user: Any) -> None:
    """Take a change back, with all of its batch in this video.

    Raises:
        Conflict: if something of it was changed again since; that is to be taken back first.
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
            put = _put(revision, _standing(revision, after), before)
            changes.append((after, before))
            changed |= {segment.index for segment in put}
        taken_back = uuid4() if correction.batch else None
        _record(video, user, Correction.Kind.RESTORE, changes, taken_back)
        rows.update(restored_at=Now())
        _refresh(video, revision, changed)


def carry_over(video: Video, revision: Revision) -> set[int]:
    """Put people's corrections into a revision's new transcript; return the lines they are in.

    Those that have no place there are listed. Call it inside `guard`. The revision remembers how
    many changes it knows of.
    """
    hold(video.pk)
    video.refresh_from_db(fields=["revision"])
    serving = video.revision
    old, new = serving.transcript if serving else None, revision.transcript
    assert new is not None
    touched: set[int] = set()
    if old is not None and old.pk != new.pk:
        corrected = [line_of(each) for each in old.segments.exclude(machine_text=None)]
        # Captions have no file that they were made of.
        is_other_file = old.source_hash != new.source_hash and old.source_hash and new.source_hash
        if is_other_file:
            _list_unfit(video, corrected)
        elif corrected:
            touched = _put_corrected(video, revision, corrected)
    _count_corrections(video, [revision.pk])
    return touched


def _put_corrected(video: Video, revision: Revision, corrected: Sequence[Line]) -> set[int]:
    found = list(_lines(revision))
    lines = [line_of(each) for each in found]
    put, unfit = correcting.carried_over(corrected, lines)
    _list_unfit(video, unfit)
    begin, least = 0, min(len(lines), len(put))
    while begin < least and lines[begin] == put[begin]:
        begin += 1
    if begin == len(lines) == len(put):
        return set()
    same = 0
    while same < least - begin and lines[-1 - same] == put[-1 - same]:
        same += 1
    written = _put(revision, found[begin : len(found) - same], put[begin : len(put) - same])
    return {row.index for row in written}


def catch_up(video: Video, revision: Revision) -> None:
    """Let a revision that is put in force have what was corrected while it was made.

    Call it inside `guard`. Until its end nobody changes anything; what has another text now is
    embedded once the revision is in force.
    """
    hold(video.pk)
    if is_outdated(video, revision):
        chunks.rewrite(revision, carry_over(video, revision))
    space = configured_space()
    revision.refresh_from_db(fields=["corrections"])
    if revision.corrections and stale_chunks(revision, space.model, space.dimensions).exists():
        _emit(video)


def is_outdated(video: Video, revision: Revision) -> bool:
    """Whether people have changed the transcript in force since a revision was chunked.

    Call it inside `guard`: until its end nobody changes anything.
    """
    hold(video.pk)
    known = Revision.objects.values_list("corrections", flat=True).get(pk=revision.pk)
    return known != Correction.objects.filter(video=video).count()


def hold(video_id: UUID) -> None:
    """Let others who would change the transcript wait until this transaction ends."""
    transactions.hold_text(f"transcript of {video_id}")


def stale_chunks(revision: Revision, model: str, dimensions: int) -> QuerySet[Chunk]:
    """Return a revision's chunks whose text has changed since they were embedded."""
    embedded = Embedding.objects.filter(
        chunk__revision=revision,
        segment_index=None,
        model=model,
        dimensions=dimensions,
        text_hash=F("chunk__content_hash"),
    )
    return Chunk.objects.filter(revision=revision).exclude(pk__in=embedded.values("chunk_id"))


# --- Writing ----------------------------------------------------------------------------


@contextmanager
def _locked(video: Video) -> Iterator[Revision]:
    """Yield the revision in force, locked against other changes, in a transaction of its own."""
    with transaction.atomic():
        hold(video.pk)
        video.refresh_from_db(fields=["revision"])
        revisions = Revision.objects.select_related("transcript")
        in_force = {"pk": video.revision_id, "transcript__isnull": False}
        revision = revisions.filter(**in_force).first()
        if revision is None:
            raise CannotChange("This video has no transcript yet.")
        yield revision


def _lines(revision: Revision) -> QuerySet[Segment]:
    return Segment.objects.filter(transcript=revision.transcript_id).order_by("index")


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
            segment = _lines(revision).filter(pk=each.pk).first()
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
        written = _put(revision, found, after)
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
    rows = list(_lines(revision).filter(index__in=changed))
    _record(video, user, kind, [([line_of(row)], [changed[row.index]]) for row in rows], batch)
    for row in rows:
        _set(row, changed[row.index])
    Segment.objects.bulk_update(rows, [*_COPIED, "version"], batch_size=500)
    _refresh(video, revision, {row.index for row in rows})
    return rows


def _set(row: Segment, line: Line) -> None:
    for name in _COPIED:
        setattr(row, name, getattr(line, name))
    row.version += 1


def _put(revision: Revision, found: Sequence[Segment], lines: Sequence[Line]) -> list[Segment]:
    """Put lines in the place of segments that follow each other; what comes after moves."""
    first, more = found[0].index, len(lines) - len(found)
    kept = list(found[: len(lines)])
    _lines(revision).filter(pk__in=[row.pk for row in found[len(lines) :]]).delete()
    if more:
        _move(revision, first + len(found), more)
    for row, line in zip(kept, lines, strict=False):
        _set(row, line)
        row.save()
    assert revision.transcript is not None
    added = [
        Segment(
            transcript=revision.transcript,
            index=first + len(kept) + number,
            version=1,
            **{name: getattr(line, name) for name in _COPIED},
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
    _shift(_lines(revision), "index", begin, by)
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


def _standing(revision: Revision, lines: Sequence[Line]) -> list[Segment]:
    """Return the segments that hold just these lines.

    Raises:
        Conflict: if they were changed since.
    """
    found = list(
        _lines(revision).filter(
            start__gte=lines[0].start - 0.001, start__lte=lines[-1].start + 0.001
        )
    )
    if [(row.text, row.speaker) for row in found] != [(each.text, each.speaker) for each in lines]:
        raise Conflict(found[0] if found else None)
    return found


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
        _emit(video)
    _drop_warnings(video, revision)
    _count_corrections(video, [each.pk for each in same])


def _of_transcript(revision: Revision) -> list[Revision]:
    """Return the revision in force, and others that are just made of the same transcript."""
    same = Revision.objects.select_related("transcript")
    return list(same.filter(transcript=revision.transcript_id, chunked_at__isnull=False))


def _count_corrections(video: Video, revision_ids: Sequence[UUID]) -> None:
    count = Correction.objects.filter(video=video).count()
    Revision.objects.filter(pk__in=revision_ids).update(corrections=count)


def _emit(video: Video) -> None:
    events.emit("video/transcript.corrected", video_id=video.pk, creator_id=video.creator_id)


def _drop_warnings(video: Video, revision: Revision) -> None:
    """Warn no more of lines that nobody doubts any more."""
    doubted = set(_lines(revision).exclude(doubt="").values_list("start", flat=True))
    video.refresh_from_db(fields=["warnings"])
    left = [
        warning
        for warning in video.warnings
        if warning["code"] != "suspicious_text" or warning["start"] in doubted
    ]
    if left != video.warnings:
        Video.objects.filter(pk=video.pk).update(warnings=left)


def _list_unfit(video: Video, lines: Sequence[Line]) -> None:
    known = set(video.unfit_corrections.values_list("start", "text"))
    UnfitCorrection.objects.bulk_create(
        UnfitCorrection(
            video=video,
            start=line.start,
            end=line.end,
            text=line.text,
            speaker=line.speaker,
            machine_text=line.machine_text or "",
        )
        for line in lines
        if (line.start, line.text) not in known
    )
