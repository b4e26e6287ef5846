"""Storing the segments of a transcript, which completes it."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models.functions import Now

from videos import events
from videos.models import Run, Segment, Transcript
from videos.stages import same_content
from videos.stitching import HeardSegment

_ROWS_PER_STATEMENT = 1_000


def store(
    run: Run,
    transcript: Transcript,
    heard: Sequence[HeardSegment],
    *,
    language: str,
    coverage: float | None,
) -> None:
    """Replace a transcript's segments, and tell whoever waits for it; call it inside `guard`."""
    Segment.objects.filter(transcript=transcript).delete()
    Segment.objects.bulk_create(
        [
            Segment(
                transcript=transcript,
                index=index,
                start=segment.start,
                end=segment.end,
                text=segment.text,
                speaker=segment.speaker,
                doubt=segment.doubt,
                words=segment.words,
            )
            for index, segment in enumerate(heard)
        ],
        batch_size=_ROWS_PER_STATEMENT,
    )
    Transcript.objects.filter(pk=transcript.pk).update(
        language=language, coverage=coverage, completed_at=Now()
    )
    same_content.tell(transcript, run.creator_id)
    announce(run, len(heard), transcript.duration_ms)


def announce(run: Run, segment_count: int, duration_ms: int) -> None:
    """Emit that the run's transcript is complete."""
    events.emit(
        "video/transcription.completed",
        video_id=run.video_id,
        creator_id=run.creator_id,
        segment_count=segment_count,
        duration_s=duration_ms / 1000,
    )
