"""The stage `finish`: completed means complete, or the run fails and says what is missing."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import connection
from django.db.models import FloatField, Func, QuerySet

from videos import events
from videos.audio import confidence
from videos.audio.parts import Interval
from videos.durable import runs, steps
from videos.durable.claims import Claim
from videos.durable.messages import enqueue
from videos.durable.transactions import after_commit
from videos.exceptions import ChronosError
from videos.models import (
    AudioPart,
    Call,
    Chunk,
    Embedding,
    Revision,
    Run,
    Segment,
    Step,
    Transcript,
    Video,
)
from videos.pipeline import carry_over, embedding_models, statuses, storage
from videos.pipeline.segments import warning
from videos.pipeline.vectors import configured_space, of_chunks

#: Less than this in a part is more often a noise than speech that was missed.
_MIN_SPEECH_MS = 5_000
_SENT_BACK_FOR = "embed_once_more_for"
#: Chunks of a revision, their vectors in a space, those of length zero, parts that nobody has
#: recognized, open calls; whether there are segments, doubtful ones, and what the video had before.
_FOUND = f"""
    SELECT
        (SELECT count(*) FROM {Chunk._meta.db_table} WHERE revision_id = %(revision)s),
        vectors.count, vectors.zero,
        (SELECT count(*) FROM {AudioPart._meta.db_table}
            WHERE transcript_id = %(transcript)s AND result IS NULL),
        (SELECT count(*) FROM {Call._meta.db_table} WHERE run_id = %(run)s AND state = 'sent'),
        EXISTS (SELECT FROM {Segment._meta.db_table} WHERE transcript_id = %(transcript)s),
        EXISTS (SELECT FROM {Segment._meta.db_table}
            WHERE transcript_id = %(transcript)s AND doubt <> ''),
        EXISTS (SELECT FROM {Revision._meta.db_table}
            WHERE video_id = %(video)s AND id <> %(revision)s)
            OR EXISTS (SELECT FROM {Transcript._meta.db_table}
                WHERE video_id = %(video)s AND id <> %(transcript)s)
    FROM (
        SELECT count(*) AS count, count(*) FILTER (WHERE l2_norm(vector) = 0) AS zero
        FROM {Embedding._meta.db_table} AS embedding
        JOIN {Chunk._meta.db_table} AS chunk ON chunk.id = embedding.chunk_id
        WHERE chunk.revision_id = %(revision)s AND embedding.segment_index IS NULL
            AND embedding.model = %(model)s AND embedding.dimensions = %(dimensions)s
    ) AS vectors
    """


class _Found(NamedTuple):
    """What `_FOUND` finds of a run that is about to end."""

    chunks: int
    vectors: int
    zero_vectors: int
    missing_parts: int
    open_calls: int
    has_segments: bool
    has_doubts: bool
    has_older: bool


def finish(claim: Claim) -> None:
    """Check that nothing is missing, put the revision in force, and end the run.

    Where the embedding model was changed since the run embedded, it embeds once more.
    """
    revision, video = claim.run.revision, claim.run.video
    assert revision is not None and revision.transcript is not None and video is not None
    with steps.planned_step(claim, "revision") as step:
        storage.delete_orphans(claim, video, recorded=revision.transcript.audio)
        with claim.guard() as run:
            if _is_embedded_for_another(run, revision):
                _send_back(claim, run)
                return
            carry_over.catch_up(video, revision)
            found = _find(run, revision, revision.transcript)
            _check_complete(run, revision, found)
            warnings = _warnings(revision.transcript, found)
            if found.zero_vectors:
                warnings += _without_direction(revision)
            statuses.completed(video.pk, revision, warnings)
            embedding_models.serve_when_ready()
            if found.has_older:
                _drop_older(video, revision)
            events.emit(
                "video/completed",
                video_id=video.pk,
                creator_id=run.creator_id,
                duration_s=revision.transcript.duration_ms / 1000,
                chunk_count=found.chunks,
            )
            steps.finish(run, step)
            runs.advance(claim, run)


def _send_back(claim: Claim, run: Run) -> None:
    """Have a run embed once more, for the settings of this process."""
    data = run.data | {_SENT_BACK_FOR: str(configured_space())}
    if not runs.move(claim, run, "embed", data=data):
        after_commit(enqueue, [run])


def _is_embedded_for_another(run: Run, revision: Revision) -> bool:
    """Whether chunks lack vectors, and workers with other settings have embedded this run's."""
    done = run.steps.filter(stage="embed", state=Step.State.DONE)
    return (
        run.data.get("chunk_ids") is None
        # Workers of two settings must not pass it to and fro.
        and run.data.get(_SENT_BACK_FOR) != str(configured_space())
        # The cheapest question first: of most runs it is the only one.
        and not done.filter(key__endswith=f", {configured_space()}").exists()
        and done.exists()
        and _vectors(revision).count() < revision.chunks.count()
    )


def _vectors(revision: Revision) -> QuerySet[Embedding]:
    """Return the vectors of a revision's whole chunks in the configured space."""
    return of_chunks(configured_space()).filter(chunk__revision=revision)


def _find(run: Run, revision: Revision, transcript: Transcript) -> _Found:
    space = configured_space()
    given: dict[str, Any] = {
        "video": revision.video_id,
        "revision": revision.pk,
        "transcript": transcript.pk,
        "run": run.pk,
        "model": space.model,
        "dimensions": space.dimensions,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, given)
        return _Found(*cursor.fetchone())


def _check_complete(run: Run, revision: Revision, found: _Found) -> None:
    """Check that nothing is missing, and note in which space the revision is embedded.

    Raises:
        ChronosError: if a part, a vector or a ledger row is missing.
    """
    lacking_vectors = found.chunks - found.vectors
    if not lacking_vectors:
        space = configured_space()
        Revision.objects.filter(pk=revision.pk).update(
            embedding_model=space.model, embedding_dimensions=space.dimensions
        )
    elif run.data.get("chunk_ids") is not None and _is_in_force(revision):
        # What it was asked for is done; the video is as complete as it was.
        lacking_vectors = 0
    missing = {
        "audio parts": found.missing_parts,
        "vectors": lacking_vectors,
        "booked calls": found.open_calls,
    }
    lacking = [f"{count} {what}" for what, count in missing.items() if count]
    if lacking:
        raise ChronosError(
            f"The video is not complete: {', '.join(lacking)} are missing. Reprocess it from "
            "embed, or from transcribe where parts are missing."
        )


def _is_in_force(revision: Revision) -> bool:
    return Video.objects.filter(pk=revision.video_id, revision=revision).exists()


def _warnings(transcript: Transcript, found: _Found) -> list[dict[str, Any]]:
    """Return what a viewer should know of a transcript."""
    warnings = list(transcript.warnings)
    if not found.has_segments:
        warnings.append(warning("no_speech", "No words were found, so the transcript is empty."))
    if transcript.coverage is not None and transcript.coverage < confidence.MIN_COVERAGE:
        warnings.append(
            warning(
                "low_coverage",
                f"Only {transcript.coverage:.0%} of what sounds like speech was transcribed.",
            )
        )
    else:
        warnings += [
            warning(
                "low_coverage",
                "Most of what sounds like speech here was not recognized.",
                start_ms / 1000,
                end_ms / 1000,
            )
            for start_ms, end_ms in _hardly_recognized(transcript)
        ]
    if transcript.truncated:
        warnings.append(
            warning(
                "truncated_media",
                "The file is damaged, was cut off, or has another file behind its end: what could "
                "be decoded of it was transcribed. Join files by muxing, not byte by byte.",
            )
        )
    for segment in transcript.segments.exclude(doubt="") if found.has_doubts else ():
        warnings.append(
            warning(
                "suspicious_text",
                confidence.MEANINGS[segment.doubt],
                segment.start,
                segment.end,
            )
        )
    return warnings


def _without_direction(revision: Revision) -> list[dict[str, Any]]:
    """Name the chunks whose vectors are zero: no search by meaning finds them."""
    zero = (
        _vectors(revision)
        .annotate(length=Func("vector", function="l2_norm", output_field=FloatField()))
        .filter(length=0)
    )
    return [
        warning(
            "no_vector",
            "The embedding model knows nothing of this: it is found by its words alone.",
            start,
            end,
        )
        for start, end in zero.order_by("chunk__start").values_list("chunk__start", "chunk__end")
    ]


def _hardly_recognized(transcript: Transcript) -> list[Interval]:
    """Return where parts of a transcript lie that a second pass did not mend either."""
    found: list[Interval] = []
    for row in transcript.parts.exclude(speech=[]).order_by("start_ms"):
        assert row.result is not None, "_check_complete has looked"
        speech_ms = sum(end - start for start, end in row.spoken)
        if row.coverage < confidence.MIN_COVERAGE and speech_ms >= _MIN_SPEECH_MS:
            start_ms = found.pop()[0] if found and found[-1][1] == row.start_ms else row.start_ms
            found.append((start_ms, row.end_ms))
    return found


def _drop_older(video: Video, revision: Revision) -> None:
    """Delete what the revision replaces: older revisions, their transcripts and audio."""
    video.revisions.exclude(pk=revision.pk).delete()
    video.transcripts.exclude(revisions=revision).delete()
