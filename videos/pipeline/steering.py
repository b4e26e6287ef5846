"""What people ask for: process a video again, resume it, cancel it."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from videos import events
from videos.durable import admission, runs
from videos.durable.dispatch import dispatch
from videos.models import Revision, Run, SetAside, Video
from videos.pipeline.functions import active, joinable, locked, resuming
from videos.pipeline.stages import stages
from videos.search import Hit, search


def restartable_stages() -> list[str]:
    """Return the stages from which a person can ask to process again, in their order."""
    return [name for name in stages if stages[name].event]


def restartable(videos: QuerySet[Video], stage: str | None) -> QuerySet[Video]:
    """Keep the videos that can be processed again from a stage; None: where they ended."""
    if stage is None:
        return videos.filter(status__in=(Video.Status.FAILED, Video.Status.CANCELLED))
    if stages.is_before("transcribe", stage):
        # Without a transcript, or without chunks, there is nothing to go on from.
        made = Revision.objects.filter(video=OuterRef("pk"), transcript__completed_at__isnull=False)
        if stages.is_before("chunk", stage):
            made = made.filter(chunked_at__isnull=False)
        return videos.filter(Exists(made))
    return videos


def resumable_stage(video: Video) -> str:
    """Return the stage at which a failed or cancelled video goes on.

    Raises:
        ValueError: if the video neither failed nor was cancelled.
    """
    if video.status not in (Video.Status.FAILED, Video.Status.CANCELLED):
        raise ValueError(f"{video} is {video.status}: say from which stage to process it again.")
    stage, _ = resuming(video)
    return stage


def transcribe_data(video: Video) -> dict[str, object]:
    """Return what `video/transcribe.requested` says of a video."""
    return {
        "video_id": video.pk,
        "creator_id": video.creator_id,
        "storage_path": video.file.name,
        "original_filename": video.original_filename,
        "language": video.language or None,
    }


class PipelineSteering:
    """What `Video.reprocess`, `Video.cancel` and `Video.moments` do."""

    def moments(self, query: str, videos: QuerySet[Video], limit: int) -> list[Hit]:
        """Search what was said."""
        return search(query, videos, limit=limit)

    def cancel(self, video: Video) -> bool:
        """Stop a video's run: a waiting one at once, a running one at its next step."""
        with transaction.atomic():
            found = locked(video.pk)
            run = active(found) if found else None
            if run is not None:
                runs.request_cancellation(run)
        admission.admit()
        return run is not None

    def reprocess(
        self, video: Video, from_stage: str | None, *, force: bool = False, key: str | None = None
    ) -> Run:
        """Send the event that processes a video again; return the run that it started.

        Raises:
            ValueError: for a stage that cannot be reprocessed from, or a video that cannot.
        """
        video.refresh_from_db()
        stage = from_stage or resumable_stage(video)
        if stage not in restartable_stages():
            raise ValueError(f"There is no stage {stage!r}: {', '.join(restartable_stages())}.")
        data: dict[str, object] = {"video_id": video.pk, "creator_id": video.creator_id}
        if stage == "transcribe":
            data |= transcribe_data(video)
            data |= {"again": from_stage is not None, "force": force}
        elif stage == "chunk":
            data["force"] = force
        event = events.send(stages[stage].event, data, key)
        started = Run.objects.filter(event=event).first() or next(iter(dispatch(event)), None)
        run = started or joinable(video)
        if run is None and (kept := SetAside.objects.filter(item_id=event.pk).first()):
            raise ValueError(f"{video} was set aside, and will be retried by itself: {kept.error}")
        if run is None:
            raise ValueError(f"{video} has nothing to {stage}: reprocess it from an earlier stage.")
        return run


Video._steering = PipelineSteering()
