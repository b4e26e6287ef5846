"""The pipelines: their stages in order, what starts them, and how they are steered.

    stage       reads                         writes
    transcribe  the file, or the kept audio   Transcript, AudioPart, Segment, Call
    chunk       Segment                       Chunk
    embed       Chunk, Segment                Embedding, Call
    finish      all of it                     Video.revision, ServingModel

Each stage passes its run on in the transaction that stores what it made. Recovery and
reprocessing build the same pipeline from a later stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from videos import events
from videos.durable import admission, runs
from videos.durable.dispatch import dispatch
from videos.durable.registry import Chore, Function, Stage, registry
from videos.durable.retries import EMBEDDING_RETRIES, TRANSCRIPTION_RETRIES
from videos.models import ACTIVE_STATES, Event, Revision, Run, SetAside, Step, Video
from videos.pipeline import deletion, statuses
from videos.pipeline.chunk import chunk
from videos.pipeline.embed import embed
from videos.pipeline.finish import finish
from videos.pipeline.transcribe.stage import transcribe

STAGES = {
    "transcribe": Stage("transcribe_video", transcribe, TRANSCRIPTION_RETRIES),
    "chunk": Stage("chunk_transcript", chunk),
    "embed": Stage("embed_chunks", embed, EMBEDDING_RETRIES),
    "finish": Stage("finish_video", finish),
}
#: The stages from which a person can ask to process again, and the event that says so.
EVENT_OF_STAGE = {
    "transcribe": "video/transcribe.requested",
    "chunk": "video/chunk.requested",
    "embed": "video/embed.requested",
}


def start_processing(event: Event, function: Function) -> list[Run]:
    """Start the whole pipeline; nothing for a completed video, unless forced."""
    video = _wanted(event)
    again = bool(event.data.get("force") or event.data.get("again"))
    if video is None or (video.status == Video.Status.COMPLETED and not again):
        return []
    if again:
        if _is_joined(video, function, event.data):
            return []
        return [_start(video, event, function, "transcribe", Revision(video=video))]
    if _joinable(video):
        return []
    resumed = _unfinished(video) or video.revision or Revision(video=video)
    return [_start(video, event, function, _first_unfinished(resumed), resumed)]


def start_chunking(event: Event, function: Function) -> list[Run]:
    """Chunk the newest complete transcript again, into a revision of its own."""
    video = _wanted(event)
    base = _newest_transcribed(video) if video else None
    if video is None or base is None or _is_joined(video, function, event.data):
        return []
    revision = Revision(video=video, transcript=base.transcript)
    return [_start(video, event, function, "chunk", revision)]


def start_embedding(event: Event, function: Function) -> list[Run]:
    """Embed again what is in force, or what an unfinished run has chunked."""
    return _start_embedding(event, function, [event.data["video_id"]], "default")


def start_batch_embedding(event: Event, function: Function) -> list[Run]:
    """Embed many videos again, on the queue `bulk`."""
    return _start_embedding(event, function, event.data["video_ids"], admission.BULK)


def _start_embedding(
    event: Event, function: Function, video_ids: Iterable[str], queue: str
) -> list[Run]:
    started = []
    for video_id in sorted(set(video_ids)):
        video = _wanted(event, video_id)
        if video is None:
            continue
        candidates = [_unfinished(video), video.revision]
        named = event.data.get("chunk_ids")
        revision = next(
            (
                each
                for each in candidates
                if each and each.chunked_at and (not named or _has_chunks(each, named))
            ),
            None,
        )
        if revision is None:
            continue
        data = event.data | {"embed_again": revision.pk == video.revision_id}
        if _is_joined(video, function, data):
            continue
        before = _failed_embedding(video, revision)
        run = _start(video, event, function, "embed", revision, queue, data)
        if before is not None:
            _inherit_steps(run, before)
        started.append(run)
    return started


def _has_chunks(revision: Revision, named: list[str]) -> bool:
    return revision.chunks.filter(pk__in=named).exists()


def _failed_embedding(video: Video, revision: Revision) -> Run | None:
    """Return the run of a failed or cancelled embedding that a new one goes on with."""
    if video.status not in (Video.Status.FAILED, Video.Status.CANCELLED):
        return None
    last = video.runs.order_by("-created_at").first()
    return last if last and last.revision_id == revision.pk else None


def _inherit_steps(run: Run, before: Run) -> None:
    """Take over the batches that are done, so that they are not paid for again."""
    done = before.steps.filter(stage="embed", state=Step.State.DONE)
    Step.objects.bulk_create(
        Step(
            run=run,
            stage=step.stage,
            key=step.key,
            state=step.state,
            attempts=step.attempts,
            started_at=step.started_at,
            finished_at=step.finished_at,
        )
        for step in done
    )


def start_cancelling(event: Event, function: Function) -> list[Run]:
    """Cancel the video's run; this needs no run of its own."""
    video = _wanted(event)
    if video is not None:
        _cancel(video)
    return []


def cancel(video: Video) -> bool:
    """Stop a video's run: a waiting one at once, a running one at its next step."""
    with transaction.atomic():
        locked = _locked(video.pk)
        ended = locked is not None and _cancel(locked)
    admission.release()
    return ended


def reprocess(video: Video, from_stage: str | None, *, force: bool = False) -> Run:
    """Send the event that processes a video again; return the run that it started.

    Raises:
        ValueError: for a stage that cannot be reprocessed from, or a video that cannot.
    """
    video.refresh_from_db()
    stage = from_stage or resumable_stage(video)
    if stage not in EVENT_OF_STAGE:
        raise ValueError(f"There is no stage {stage!r}: {', '.join(EVENT_OF_STAGE)}.")
    data: dict[str, object] = {"video_id": video.pk, "creator_id": video.creator_id}
    if stage == "transcribe":
        data |= transcribe_data(video)
        data |= {"again": from_stage is not None, "force": force}
    elif stage == "chunk":
        data["force"] = force
    event = events.send(EVENT_OF_STAGE[stage], data)
    started = Run.objects.filter(event=event).first() or next(iter(dispatch(event.pk)), None)
    run = started or _joinable(video)
    if run is None and (kept := SetAside.objects.filter(item_id=event.pk).first()):
        raise ValueError(f"{video} was set aside, and is tried again by itself: {kept.error}")
    if run is None:
        raise ValueError(f"{video} has nothing to {stage}: reprocess it from an earlier stage.")
    return run


def resumable_stage(video: Video) -> str:
    """Return the stage at which a failed or cancelled video goes on.

    Raises:
        ValueError: if the video neither failed nor was cancelled.
    """
    if video.status not in (Video.Status.FAILED, Video.Status.CANCELLED):
        raise ValueError(f"{video} is {video.status}: say from which stage to process it again.")
    return _first_unfinished(_unfinished(video) or video.revision or Revision(video=video))


def transcribe_data(video: Video) -> dict[str, object]:
    """Return what `video/transcribe.requested` says of a video."""
    return {
        "video_id": video.pk,
        "creator_id": video.creator_id,
        "storage_path": video.file.name,
        "original_filename": video.original_filename,
        "language": video.language or None,
    }


def _locked(video_id: UUID | str) -> Video | None:
    return Video.objects.select_for_update(of=("self",)).filter(pk=video_id).first()


def _wanted(event: Event, video_id: UUID | str | None = None) -> Video | None:
    """Return an event's video, locked, unless something newer was asked for it meanwhile.

    An event that was set aside, or whose process died, is dispatched late.
    """
    video = _locked(video_id or event.data["video_id"])
    newer = Run.objects.filter(video=video, created_at__gt=event.created_at)
    return None if video is None or newer.exists() else video


def _active(video: Video) -> Run | None:
    return Run.objects.filter(video=video, state__in=ACTIVE_STATES).first()


def _joinable(video: Video) -> Run | None:
    """Return the video's run, unless it is about to end because somebody cancelled it."""
    run = _active(video)
    return None if run is None or run.cancel_requested else run


def _is_joined(video: Video, function: Function, data: dict[str, object]) -> bool:
    """Whether the video's run does just what is asked for, so that no other is needed."""
    run = _joinable(video)
    return run is not None and (run.function, run.data) == (function.name, data)


def _start(
    video: Video,
    event: Event,
    function: Function,
    stage: str,
    revision: Revision,
    queue: str = "default",
    data: dict[str, object] | None = None,
) -> Run:
    """Create the run that makes a revision, in the place of any run the video has."""
    runs.replace_active(video.pk)
    if revision._state.adding:
        revision.save()
    statuses.requested(video.pk, stage)
    run = runs.create(
        function,
        data=event.data if data is None else data,
        stage=stage,
        queue=queue,
        event_id=event.pk,
        video=video,
        creator_id=video.creator_id,
        revision=revision,
    )
    assert run is not None, "an event is dispatched once, under a lock"
    return run


def _unfinished(video: Video) -> Revision | None:
    """Return the revision that the last run left unfinished, if any."""
    newest = video.revisions.select_related("transcript").order_by("-created_at").first()
    return newest if newest and newest.pk != video.revision_id else None


def _first_unfinished(revision: Revision) -> str:
    if revision.transcript is None or revision.transcript.completed_at is None:
        return "transcribe"
    return "chunk" if revision.chunked_at is None else "embed"


def _newest_transcribed(video: Video) -> Revision | None:
    return (
        video.revisions.select_related("transcript")
        .filter(transcript__completed_at__isnull=False)
        .order_by("-created_at")
        .first()
    )


def _cancel(video: Video) -> bool:
    run = _active(video)
    if run is None:
        return False
    if run.state == Run.State.RUNNING:
        Run.objects.filter(pk=run.pk).update(cancel_requested=True)
    else:
        runs.cancel(run)
    return True


for _name, _event, _first, _starter in [
    ("process_video", "video/transcribe.requested", "transcribe", start_processing),
    ("rechunk_video", "video/chunk.requested", "chunk", start_chunking),
    ("reembed_video", "video/embed.requested", "embed", start_embedding),
    (
        "reembed_videos",
        "video/embeddings.batch-reprocess",
        "embed",
        start_batch_embedding,
    ),
    ("cancel_video", "video/cancel.requested", "finish", start_cancelling),
]:
    # A resumed run may begin at any stage, so every function knows all from its first on.
    _names = list(STAGES)[list(STAGES).index(_first) :]
    registry.add_function(
        Function(_name, _event, {name: STAGES[name] for name in _names}, start=_starter)
    )
registry.chores["deletions"] = Chore(deletion.due, deletion.delete_due)
