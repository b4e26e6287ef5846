"""The stage `finish`: completed means complete, or the run fails and says what is missing."""

from __future__ import annotations

from typing import Any

from videos import doubts, events, locks, runs, sources, statuses, steps
from videos.claims import Claim
from videos.exceptions import ChronosError
from videos.models import (
    Call,
    Embedding,
    Revision,
    Run,
    ServingModel,
    Transcript,
    Video,
)
from videos.pipeline.vectors import configured_space, serving_space
from videos.splitting import Interval, Part
from videos.stitching import HeardSegment, on_video_clock

#: Less than this in a part is more often a noise than speech that was missed.
_LEAST_SPEECH_MS = 5_000


def finish(claim: Claim) -> None:
    """Check that nothing is missing, put the revision in force, and end the run."""
    revision, video = claim.run.revision, claim.run.video
    assert revision is not None and revision.transcript is not None and video is not None
    with steps.step(claim, "revision") as step:
        sources.drop_strays(claim, video)
        with claim.guard() as run:
            chunk_count = _check_complete(run, revision, revision.transcript)
            statuses.completed(video.pk, revision, _warnings(revision.transcript))
            _serve_configured_model()
            _drop_older(video, revision)
            events.emit(
                "video/completed",
                video_id=video.pk,
                creator_id=run.creator_id,
                duration_s=revision.transcript.duration_ms / 1000,
                chunk_count=chunk_count,
            )
            steps.finish(run, step)
            runs.complete(run)


def _check_complete(run: Run, revision: Revision, transcript: Transcript) -> int:
    """Return the number of chunks.

    Raises:
        ChronosError: if a part, a vector or a ledger row is missing.
    """
    assert run.video is not None
    space = configured_space()
    chunks = revision.chunks.count()
    vectors = Embedding.objects.filter(
        chunk__revision=revision,
        segment_index=None,
        model=space.model,
        dimensions=space.dimensions,
    )
    lacking_vectors = chunks - vectors.count()
    if not lacking_vectors:
        Revision.objects.filter(pk=revision.pk).update(
            embedding_model=space.model, embedding_dimensions=space.dimensions
        )
    elif run.data.get("chunk_ids") is not None and run.video.revision_id == revision.pk:
        # What it was asked for is done; the video is as complete as it was.
        lacking_vectors = 0
    missing = {
        "audio parts": transcript.parts.filter(result__isnull=True).count(),
        "vectors": lacking_vectors,
        "booked calls": Call.objects.filter(run_id=run.pk, state=Call.State.SENT).count(),
    }
    lacking = [f"{count} {what}" for what, count in missing.items() if count]
    if lacking:
        raise ChronosError(
            f"The video is not complete: {', '.join(lacking)} are missing. Reprocess it from "
            "embed, or from transcribe where parts are missing."
        )
    return chunks


def _warnings(transcript: Transcript) -> list[dict[str, Any]]:
    """Return what a viewer should know; start and end are seconds, or None for the whole."""
    warnings = []
    if not transcript.segments.exists():
        warnings.append(_warning("no_speech", "No words were found, so the transcript is empty."))
    if transcript.coverage is not None and transcript.coverage < doubts.LEAST_COVERAGE:
        warnings.append(
            _warning(
                "low_coverage",
                f"Only {transcript.coverage:.0%} of what sounds like speech was transcribed.",
            )
        )
    else:
        warnings += [
            _warning(
                "low_coverage",
                "Most of what sounds like speech here was not understood.",
                start_ms / 1000,
                end_ms / 1000,
            )
            for start_ms, end_ms in _hardly_heard(transcript)
        ]
    if transcript.truncated:
        warnings.append(
            _warning(
                "truncated_media",
                "The file is damaged or was cut off: what could be decoded was transcribed.",
            )
        )
    for segment in transcript.segments.exclude(doubt=""):
        warnings.append(
            _warning(
                "suspicious_text",
                doubts.MEANINGS[segment.doubt],
                segment.start,
                segment.end,
            )
        )
    return warnings


def _hardly_heard(transcript: Transcript) -> list[Interval]:
    """Return where parts of a transcript lie that a second hearing did not mend either."""
    found: list[Interval] = []
    for row in transcript.parts.exclude(speech=[]).order_by("start_ms"):
        assert row.result is not None, "_check_complete has looked"
        part = Part(row.start_ms, row.end_ms, row.speech)
        heard = [HeardSegment(**segment) for segment in row.result["segments"]]
        covered = doubts.coverage(part.speech, on_video_clock(part, heard))
        speech_ms = sum(end - start for start, end in part.speech)
        if covered < doubts.LEAST_COVERAGE and speech_ms >= _LEAST_SPEECH_MS:
            start_ms = found.pop()[0] if found and found[-1][1] == part.start_ms else part.start_ms
            found.append((start_ms, part.end_ms))
    return found


def _warning(
    code: str, message: str, start: float | None = None, end: float | None = None
) -> dict[str, Any]:
    return {"code": code, "message": message, "start": start, "end": end}


def _serve_configured_model() -> None:
    """Let searches use the configured model once every video in force has its vectors.

    Until then the model before it serves. What failed or was cancelled is not waited for.
    """
    space = configured_space()
    if serving_space() == space:
        return
    # Of two runs that finish at once, the second must see what the first has put in force.
    locks.hold(locks.SERVING)
    ended = (Video.Status.FAILED, Video.Status.CANCELLED)
    others = Revision.objects.exclude(
        embedding_model=space.model, embedding_dimensions=space.dimensions
    )
    in_force = Video.objects.exclude(status__in=ended).filter(revision__in=others)
    if not in_force.exists():
        ServingModel.objects.update_or_create(
            id=1, defaults={"model": space.model, "dimensions": space.dimensions}
        )


def _drop_older(video: Video, revision: Revision) -> None:
    """Delete what the revision replaces: older revisions, their transcripts and audio."""
    video.revisions.exclude(pk=revision.pk).delete()
    video.transcripts.exclude(revisions=revision).delete()
