"""What people ask for: process a video again, resume it, cancel it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from videos.durable import admission, runs
from videos.durable.dispatch import dispatch, dispatching_together
from videos.durable.models import ACTIVE_STATES
from videos.durable.outbox import prepare, record_all
from videos.exceptions import EventRefused
from videos.models import Event, Revision, Run, SetAside, Video
from videos.pipeline.stages import stages
from videos.pipeline.starting import ENDED_BADLY, active, locked, resuming_stages
from videos.search import Hit, search


def restartable_stages() -> list[str]:
    """Return the stages from which a person can ask to process again, in their order."""
    return [name for name in stages if stages[name].event]


def restartable(videos: QuerySet[Video], stage: str | None) -> QuerySet[Video]:
    """Keep the videos that can be processed again from a stage; None: where they ended."""
    if stage is None:
        return videos.filter(status__in=ENDED_BADLY)
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
    if video.status not in ENDED_BADLY:
        raise ValueError(_not_resumable(video))
    return resuming_stages([video])[video.pk]


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
        keys = {} if key is None else {video.pk: key}
        begun, left_out = reprocess_all([video], from_stage, force=force, keys=keys)
        if left_out:
            raise ValueError(left_out[0])
        return begun[0]


def reprocess_all(
    videos: Sequence[Video],
    from_stage: str | None,
    *,
    force: bool = False,
    keys: Mapping[UUID, str] = MappingProxyType({}),
) -> tuple[list[Run], list[str]]:
    """Send the events that process videos again, by as many statements as for one video.

    Returns their runs, and why other videos have none. What is asked for twice with the same key,
    of those by video, is done once.

    Raises:
        ValueError: for a stage that cannot be reprocessed from.
    """
    if from_stage is not None and from_stage not in restartable_stages():
        raise ValueError(f"There is no stage {from_stage!r}: {', '.join(restartable_stages())}.")
    begun: list[Run] = []
    left_out: list[str] = []
    by_stage = defaultdict(list)
    if from_stage is not None:
        by_stage[from_stage] = list(videos)
    else:
        resumable = [video for video in videos if video.status in ENDED_BADLY]
        left_out += [_not_resumable(video) for video in videos if video not in resumable]
        goes_on_at = resuming_stages(resumable)
        for video in resumable:
            by_stage[goes_on_at[video.pk]].append(video)
    with dispatching_together():
        for stage, its in by_stage.items():
            asked: dict[Video, Event] = {}
            for video in its:
                data = _asked_for(video, stage, is_anew=from_stage is not None, force=force)
                try:
                    asked[video] = prepare(stages[stage].event, data, keys.get(video.pk))
                except EventRefused as error:
                    left_out.append(str(error))
            with transaction.atomic():
                started = dispatch(*record_all(list(asked.values())))
            for outcome in _outcomes(stage, asked, started):
                if isinstance(outcome, Run):
                    begun.append(outcome)
                else:
                    left_out.append(outcome)
    return begun, left_out


def _not_resumable(video: Video) -> str:
    return f"{video} is {video.status}: say from which stage to process it again."


def _asked_for(video: Video, stage: str, *, is_anew: bool, force: bool) -> dict[str, object]:
    """Return the data of the event that processes a video again from a stage."""
    if stage == "transcribe":
        return transcribe_data(video) | {"again": is_anew, "force": force}
    data: dict[str, object] = {"video_id": video.pk, "creator_id": video.creator_id}
    return data | {"force": force} if stage == "chunk" else data


def _outcomes(
    stage: str, asked: Mapping[Video, Event], started: Iterable[Run]
) -> Iterator[Run | str]:
    """Yield for each video the run that its event has started or joined, or why there is none."""
    found = {run.video_id: run for run in started}
    others = {video: event for video, event in asked.items() if video.pk not in found}
    refused: dict[UUID, str] = {}
    if others:
        found |= _by_video(others, Q(state__in=ACTIVE_STATES, cancel_requested=False))
        # Somebody else has dispatched it, or its key stands for the event that was sent first.
        keys = [event.key for event in others.values() if event.key is not None]
        sent_before = Q(event__name=stages[stage].event, event__key__in=keys)
        found |= _by_video(others, Q(event__in=list(others.values())) | sent_before)
        ids = [event.pk for event in others.values()]
        refused = dict(SetAside.objects.filter(item_id__in=ids).values_list("item_id", "error"))
    for video, event in asked.items():
        if (run := found.get(video.pk)) is not None:
            yield run
        elif event.pk in refused:
            yield f"{video} was set aside, and will be retried by itself: {refused[event.pk]}"
        else:
            yield f"{video} has nothing to {stage}: reprocess it from an earlier stage."


def _by_video(videos: Iterable[Video], condition: Q) -> dict[UUID | None, Run]:
    rows = Run.objects.filter(condition, video__in=list(videos)).order_by("created_at")
    return {run.video_id: run for run in rows}


Video._steering = PipelineSteering()
