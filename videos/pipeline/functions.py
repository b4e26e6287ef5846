"""What starts what: the durable functions of a video, and the stages of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from videos.durable.claims import Claim
from videos.durable.registry import WHOLE, Chore, Function, Stage, registry
from videos.durable.retries import DEFAULT_RETRIES
from videos.models import Event, Revision, Run, Video
from videos.pipeline import deletion, refresh, starting, statuses
from videos.pipeline.chunk import chunk
from videos.pipeline.embed import RETRIES as EMBEDDING_RETRIES
from videos.pipeline.embed import embed
from videos.pipeline.finish import finish
from videos.pipeline.stages import StagesFrom, VideoStage, stages


def showing(work: Callable[[Claim], object], claim: Claim) -> None:
    """Show on the video that a stage has begun, and do its work."""
    if not claim.has_moved:  # Else who moved it has shown it.
        with claim.guard() as run:
            registry.hooks.entered(run, claim.stage)
            claim.run.revision = run.revision
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


def transcribe(claim: Claim) -> None:
    """Do the work of the stage `transcribe`.

    Workers alone load what decodes, cuts and hears audio, and numpy with it: no command and no page
    waits for them.
    """
    from videos.pipeline.transcribe import stage

    stage.transcribe(claim)


registry.worker_modules += ["videos.pipeline.transcribe.stage", "videos.ai.vector_answers"]


def _has_transcript(revision: Revision) -> bool:
    return revision.transcript is not None and revision.transcript.completed_at is not None


add_stage(
    "transcribe",
    "transcribe_video",
    transcribe,
    after=None,
    status=Video.Status.TRANSCRIBING,
    weight=85,
    retries=3,
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
_FUNCTIONS: list[tuple[str, str, str, Callable[[Sequence[Event], Function], list[Run]]]] = [
    ("process_video", "video/transcribe.requested", "transcribe", starting.start_processing),
    ("rechunk_video", "video/chunk.requested", "chunk", partial(starting.start_from, "chunk")),
    ("reembed_video", "video/embed.requested", "embed", starting.start_embedding),
    ("reembed_videos", "video/embeddings.batch-reprocess", "embed", starting.start_batch_embedding),
    ("cancel_video", "video/cancel.requested", "finish", starting.cancel),
]
for _name, _event, _first, _starter in _FUNCTIONS:
    # A resumed run may begin at any stage, so every function knows all from its first on.
    registry.add_function(
        Function(_name, _event, StagesFrom(_first), start_all=_starter, pays=True)
    )
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
