"""The function `refresh_vectors`: what people have corrected is found by its meaning, too.

A run of its own for each burst of corrections, beside whatever the pipeline does with the video:
it has no video to show a status on, and is admitted first.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from videos import events
from videos.durable import priorities, runs
from videos.durable.claims import Claim
from videos.durable.registry import Function
from videos.models import Event, Run, Video
from videos.pipeline import chunks, embed
from videos.pipeline.vectors import configured_space

#: Who types goes on typing: what is changed within it is embedded at once.
_BURST = timedelta(seconds=1)


def start(event: Event, function: Function) -> list[Run]:
    """Start a run, unless one waits that will see these corrections, too."""
    video = Video.objects.select_related("revision").filter(pk=event.data["video_id"]).first()
    if video is None or video.revision is None:
        return []
    to_come = Run.objects.filter(
        function=function.name, revision=video.revision, state=Run.State.WAITING
    )
    # One that is claimed just now sees what this event tells of: it was committed before.
    if to_come.exists():
        return []
    run = runs.create(
        function,
        data=event.data,
        event_id=event.pk,
        creator_id=video.creator_id,
        revision=video.revision,
        priority=priorities.URGENT,
        next_attempt_at=Now() + _BURST,
    )
    return [run] if run else []


def refresh_vectors(claim: Claim) -> None:
    """Embed what was corrected of the run's revision, if that is still in force."""
    revision = claim.run.revision
    video = Video.objects.filter(revision=revision).first() if revision else None
    if revision is None or video is None:
        with claim.guard() as run:
            runs.complete(run)
        return
    space = configured_space()
    stale = chunks.stale(revision, space.model, space.dimensions)
    embed.embed_changed(claim, stale)
    with claim.guard() as run:
        # What was corrected meanwhile, or changed once more, is the next run's.
        if stale.exists():
            events.emit("video/transcript.corrected", video_id=video.pk, creator_id=run.creator_id)
        runs.complete(run)
