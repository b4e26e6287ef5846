"""The only writer of a video's status, stage, progress, error and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest, Now

from videos import events
from videos.durable.models import MAX_ERROR_CHARACTERS
from videos.durable.registry import Hooks
from videos.models import Revision, Run, Video
from videos.pipeline.stages import stages
from videos.text.storable import storable


def requested(video_ids: Sequence[UUID], stage: str) -> None:
    """Show that a run waits for each of these videos; an earlier error is history."""
    Video.objects.filter(pk__in=video_ids).update(
        status=Video.Status.PENDING,
        stage=stage,
        progress=0,
        error="",
        error_code="",
        completed_at=None,
    )


def entered(video_id: UUID, stage: str) -> None:
    """Show that a worker has begun the stage."""
    Video.objects.filter(pk=video_id).update(
        status=stages[stage].status,
        stage=stage,
        progress=Greatest(F("progress"), stages.progress(stage, 0)),
    )


def progressed(video_id: UUID, stage: str, share: float) -> None:
    """Show which share of a stage is done, 0 to 1; progress never falls."""
    reached = stages.progress(stage, share)
    Video.objects.filter(pk=video_id).update(progress=Greatest(F("progress"), reached))


def measured(video_id: UUID, *, duration_ms: int) -> None:
    """Show the media's length as soon as it is known.

    Whoever stores audio does it in the same transaction: by it a run knows that there may be some.
    """
    Video.objects.filter(pk=video_id).update(duration_s=duration_ms / 1000)


def completed(video_id: UUID, revision: Revision, warnings: list[dict[str, Any]]) -> None:
    """Put the revision in force and say that the video is complete."""
    transcript = revision.transcript
    assert transcript is not None
    Video.objects.filter(pk=video_id).update(
        status=Video.Status.COMPLETED,
        stage="finish",
        progress=1,
        error="",
        error_code="",
        revision=revision,
        duration_s=transcript.duration_ms / 1000,
        detected_language=transcript.language,
        coverage=transcript.coverage,
        warnings=warnings,
        completed_at=Now(),
    )


class VideoHooks(Hooks):
    """Shows on a video, and emits, how its run goes on and ends; others concern nobody."""

    def entered(self, run: Run, stage: str) -> None:
        """Show the stage on the video, and read what it works on."""
        if run.video_id is not None:
            entered(run.video_id, stage)
        if run.revision_id is not None:
            revisions = Revision.objects.select_related("transcript")
            run.revision = revisions.get(pk=run.revision_id)

    def failed(self, run: Run, code: str, message: str) -> None:
        """Show the error on the video, and emit `video/failed`."""
        if run.video_id is None:
            return
        Video.objects.filter(pk=run.video_id).update(
            status=Video.Status.FAILED, error=message, error_code=code
        )
        events.emit(
            "video/failed",
            video_id=run.video_id,
            creator_id=run.creator_id,
            error_code=code,
            error=storable(message)[:MAX_ERROR_CHARACTERS],
        )

    def cancelled(self, run: Run) -> None:
        """Show that the video was cancelled, and emit `video/cancelled`."""
        if run.video_id is None:
            return
        Video.objects.filter(pk=run.video_id).update(status=Video.Status.CANCELLED)
        events.emit("video/cancelled", video_id=run.video_id, creator_id=run.creator_id)
