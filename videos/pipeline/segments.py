"""Storing the segments of a transcript, which completes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models.functions import Now

from videos import events
from videos.audio.stitching import RecognizedSegment
from videos.models import Run, Segment, Transcript
from videos.text.correcting import Line

_ROWS_PER_STATEMENT = 1_000


def store(
    run: Run,
    transcript: Transcript,
    recognized: Iterable[RecognizedSegment],
    *,
    language: str,
    coverage: float | None,
) -> None:
    """Replace a transcript's segments, and say that it is complete; call it inside `guard`."""
    Segment.objects.filter(transcript=transcript).delete()
    count = insert(transcript, recognized)
    Transcript.objects.filter(pk=transcript.pk).update(
        language=language, coverage=coverage, completed_at=Now()
    )
    emit_completed(run, count, transcript.duration_ms)


def insert(transcript: Transcript, segments: Iterable[RecognizedSegment | Segment | Line]) -> int:
    """Insert a transcript's segments: recognized ones, another's, or corrected; count them."""
    rows = Segment.objects.bulk_create(
        (
            Segment(
                transcript=transcript,
                index=index,
                start=segment.start,
                end=segment.end,
                text=segment.text,
                speaker=segment.speaker,
                doubt=segment.doubt,
                timing=segment.timing,
                words=segment.words,
                machine_text=getattr(segment, "machine_text", None),
            )
            for index, segment in enumerate(segments)
        ),
        batch_size=_ROWS_PER_STATEMENT,
    )
    return len(rows)


def warning(
    code: str, message: str, start: float | None = None, end: float | None = None
) -> dict[str, Any]:
    """Return what a viewer should know; start and end are seconds, or None for the whole."""
    return {"code": code, "message": message, "start": start, "end": end}


def emit_completed(run: Run, segment_count: int, duration_ms: int) -> None:
    """Emit that the run's transcript is complete."""
    events.emit(
        "video/transcription.completed",
        video_id=run.video_id,
        creator_id=run.creator_id,
        segment_count=segment_count,
        duration_s=duration_ms / 1000,
    )
