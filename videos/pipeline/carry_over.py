"""Keeping what people have corrected when a machine makes another transcript of the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from videos.models import Correction, Revision, UnfitCorrection, Video
from videos.pipeline import chunks
from videos.pipeline.lines import count_corrections, emit, hold, line_of, lines_of, put
from videos.pipeline.vectors import configured_space
from videos.text.carrying_over import carried_over
from videos.text.correcting import Line


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
        else:
            touched = _put_corrected(video, revision, corrected)
    count_corrections(video, [revision.pk])
    return touched


def _put_corrected(video: Video, revision: Revision, corrected: Sequence[Line]) -> set[int]:
    found = list(lines_of(revision))
    lines = [line_of(each) for each in found]
    carried, unfit = carried_over(corrected, _renamed(video, lines))
    _list_unfit(video, unfit)
    begin, least = 0, min(len(lines), len(carried))
    while begin < least and lines[begin] == carried[begin]:
        begin += 1
    if begin == len(lines) == len(carried):
        return set()
    same = 0
    while same < least - begin and lines[-1 - same] == carried[-1 - same]:
        same += 1
    written = put(revision, found[begin : len(found) - same], carried[begin : len(carried) - same])
    return {row.index for row in written}


def catch_up(video: Video, revision: Revision) -> None:
    """Let a revision that is put in force have what was corrected while it was made.

    Call it inside `guard`. Until its end nobody changes anything; what has another text now is
    embedded once the revision is in force.
    """
    if is_outdated(video, revision):
        chunks.rewrite(revision, carry_over(video, revision))
        revision.refresh_from_db(fields=["corrections"])
    space = configured_space()
    if revision.corrections and chunks.stale(revision, space.model, space.dimensions).exists():
        emit(video)


def is_outdated(video: Video, revision: Revision) -> bool:
    """Whether people have changed the transcript in force since a revision was chunked.

    Call it inside `guard`: until its end nobody changes anything.
    """
    hold(video.pk)
    revision.refresh_from_db(fields=["corrections"])
    return revision.corrections != Correction.objects.filter(video=video).count()


def _renamed(video: Video, lines: Sequence[Line]) -> list[Line]:
    """Give speakers whom people have renamed everywhere the names that they gave them."""
    renamed = Correction.objects.filter(
        video=video, kind=Correction.Kind.SPEAKER, batch__isnull=False, restored_at=None
    )
    names: dict[str, str] = {}
    # Every line of a batch says the same.
    for row in renamed.order_by("batch").distinct("batch").only("before", "after", "created_at"):
        names[row.before[0]["speaker"]] = row.after[0]["speaker"]
    return [replace(line, speaker=names.get(line.speaker, line.speaker)) for line in lines]


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
