"""What starts what: the durable functions of a video, and where in its stages each begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from videos.durable import admission, runs
from videos.durable.claims import Claim
from videos.durable.models import ACTIVE_STATES
from videos.durable.registry import WHOLE, Chore, Function, Stage, registry
from videos.durable.retries import DEFAULT_RETRIES
from videos.models import Event, Revision, Run, Step, Video
from videos.pipeline import deletion, refresh, statuses
from videos.pipeline.chunk import chunk
from videos.pipeline.embed import RETRIES as EMBEDDING_RETRIES
from videos.pipeline.embed import embed
from videos.pipeline.finish import finish
from videos.pipeline.stages import StagesFrom, VideoStage, stages
from videos.pipeline.transcribe.recognition import RETRIES as TRANSCRIPTION_RETRIES
from videos.pipeline.transcribe.stage import transcribe


def start_processing(event: Event, function: Function) -> list[Run]:
    """Start the whole pipeline; nothing for a completed video, unless forced."""
    video = _wanted(event)
    again = bool(event.data.get("force") or event.data.get("again"))
    if video is None or (video.status == Video.Status.COMPLETED and not again):
        return []
    if again:
        if _is_joined(video, function, event.data):
            return []
        return [_start(video, event, function, next(iter(stages)), Revision(video=video))]
    if joinable(video):
        return []
    stage, revision = resuming(video)
    return [_start(video, event, function, stage, revision)]


def start_from(stage: str, event: Event, function: Function) -> list[Run]:
    """Process again from a stage, whatever is there before it.

    From chunking on, and before it, a revision is made anew of the newest complete transcript;
    after it, the stages go on with what is in force, or with what an unfinished run has chunked.
    """
    video = _wanted(event)
    if video is None:
        return []
    if stages.is_before("chunk", stage):
        revision = next((each for each in _candidates(video) if each.chunked_at), None)
    else:
        base = _newest_transcribed(video)
        revision = Revision(video=video, transcript=base.transcript) if base else None
    if revision is None or _is_joined(video, function, event.data):
        return []
    before = _failed_run(video, revision)
    run = _start(video, event, function, stage, revision)
    if before is not None:
        _inherit_steps(run, before)
    return [run]


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
    named = event.data.get("chunk_ids")
    for video_id in sorted(set(video_ids)):
        video = _wanted(event, video_id)
        if video is None:
            continue
        chunked = [
            each
            for each in _candidates(video)
            if each.chunked_at and (not named or each.chunks.filter(pk__in=named).exists())
        ]
        if not chunked:
            continue
        revision = chunked[0]
        data = event.data | {"embed_again": revision.pk == video.revision_id}
        if _is_joined(video, function, data):
            continue
        before = _failed_run(video, revision)
        run = _start(video, event, function, "embed", revision, queue, data)
        if before is not None:
            _inherit_steps(run, before)
        started.append(run)
    return started


def _failed_run(video: Video, revision: Revision) -> Run | None:
    """Return the failed or cancelled run of a revision that a new one goes on with."""
    if video.status not in (Video.Status.FAILED, Video.Status.CANCELLED):
        return None
    last = video.runs.order_by("-created_at").first()
    return last if last and revision.pk and last.revision_id == revision.pk else None


def _inherit_steps(run: Run, before: Run) -> None:
    """Take over what is done of the run's stage, so that it is not paid for again."""
    runs.inherit_steps(run, before.steps.filter(stage=run.stage, state=Step.State.DONE))


def start_cancelling(event: Event, function: Function) -> list[Run]:
    """Cancel the video's run; this needs no run of its own."""
    video = _wanted(event)
    run = active(video) if video else None
    if run is not None:
        runs.request_cancellation(run)
    return []


def locked(video_id: UUID | str) -> Video | None:
    """Lock a video in the transaction that is open, and return it if it is there."""
    return Video.objects.select_for_update(of=("self",)).filter(pk=video_id).first()


def _wanted(event: Event, video_id: UUID | str | None = None) -> Video | None:
    """Return an event's video, locked, unless something newer was asked for it meanwhile.

    An event that was set aside, or whose process died, is dispatched late.
    """
    video = locked(video_id or event.data["video_id"])
    newer = Run.objects.filter(video=video, created_at__gt=event.created_at)
    return None if video is None or newer.exists() else video


def active(video: Video) -> Run | None:
    """Return the video's run that has not ended, if any."""
    return Run.objects.filter(video=video, state__in=ACTIVE_STATES).first()


def joinable(video: Video) -> Run | None:
    """Return the video's run, unless it is about to end because somebody cancelled it."""
    run = active(video)
    return None if run is None or run.cancel_requested else run


def _is_joined(video: Video, function: Function, data: dict[str, object]) -> bool:
    """Whether the video's run does just what is asked for, so that no other is needed."""
    run = joinable(video)
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


def resuming(video: Video) -> tuple[str, Revision]:
    """Return the stage at which a run of the video goes on, and the revision that it makes.

    It is the first whose work is not there, or that where the last run of the revision ended.
    """
    revision = next(iter(_candidates(video)), None) or Revision(video=video)
    stage = stages.first_unfinished(revision)
    is_new = revision._state.adding
    last = None if is_new else revision.runs.order_by("-created_at").first()
    if last is not None and last.stage in stages and stages.is_before(last.stage, stage):
        stage = last.stage
    return stage, revision


def _candidates(video: Video) -> list[Revision]:
    """Return what a run can go on with: what the last run left unfinished, what is in force."""
    newest = video.revisions.select_related("transcript").order_by("-created_at").first()
    unfinished = newest if newest and newest.pk != video.revision_id else None
    return [each for each in (unfinished, video.revision) if each]


def _newest_transcribed(video: Video) -> Revision | None:
    return (
        video.revisions.select_related("transcript")
        .filter(transcript__completed_at__isnull=False)
        .order_by("-created_at")
        .first()
    )


def showing(work: Callable[[Claim], object], claim: Claim) -> None:
    """Show on the video that a stage has begun, then do its work."""
    if not claim.has_moved:  # Else who moved it has shown it.
        with claim.guard() as run:
            registry.hooks.entered(run, claim.stage)
    work(claim)


def add_stage(
    name: str,
    actor: str,
    work: Callable[[Claim], object],
    *,
    after: str | None,
    status: Video.Status,
    weight: float,
    retries: int = DEFAULT_RETRIES,
    event: str = "",
    is_done: Callable[[Revision], bool] = lambda revision: False,
) -> None:
    """Add a stage to those of a video, behind another or at the beginning.

    Raises:
        ValueError: as `VideoStages.add`.
    """
    stage = Stage(actor, partial(showing, work), retries)
    stages.add(VideoStage(name, stage, status, weight, event, is_done), after=after)


def _has_transcript(revision: Revision) -> bool:
    return revision.transcript is not None and revision.transcript.completed_at is not None


add_stage(
    "transcribe",
    "transcribe_video",
    transcribe,
    after=None,
    status=Video.Status.TRANSCRIBING,
    weight=85,
    retries=TRANSCRIPTION_RETRIES,
    event="video/transcribe.requested",
    is_done=_has_transcript,
)
add_stage(
    "chunk",
    "chunk_transcript",
    chunk,
    after="transcribe",
    status=Video.Status.CHUNKING,
    weight=3,
    event="video/chunk.requested",
    is_done=lambda revision: revision.chunked_at is not None,
)
add_stage(
    "embed",
    "embed_chunks",
    embed,
    after="chunk",
    status=Video.Status.EMBEDDING,
    weight=10,
    retries=EMBEDDING_RETRIES,
    event="video/embed.requested",
)
add_stage("finish", "finish_video", finish, after="embed", status=Video.Status.EMBEDDING, weight=2)
_FUNCTIONS: list[tuple[str, str, str, Callable[[Event, Function], list[Run]]]] = [
    ("process_video", "video/transcribe.requested", "transcribe", start_processing),
    ("rechunk_video", "video/chunk.requested", "chunk", partial(start_from, "chunk")),
    ("reembed_video", "video/embed.requested", "embed", start_embedding),
    ("reembed_videos", "video/embeddings.batch-reprocess", "embed", start_batch_embedding),
    ("cancel_video", "video/cancel.requested", "finish", start_cancelling),
]
for _name, _event, _first, _starter in _FUNCTIONS:
    # A resumed run may begin at any stage, so every function knows all from its first on.
    registry.add_function(Function(_name, _event, StagesFrom(_first), start=_starter, pays=True))
registry.add_function(
    Function(
        "refresh_vectors",
        "video/transcript.corrected",
        {WHOLE: Stage("refresh_vectors", refresh.refresh_vectors, EMBEDDING_RETRIES)},
        start=refresh.start,
    )
)
registry.chores["deletions"] = Chore(deletion.due, deletion.delete_due)
registry.hooks = statuses.VideoHooks()
