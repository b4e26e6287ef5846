"""Steering many videos at once: a durable run of its own, batch by batch, at a pace.

It can be paused and cancelled as any run can; killed anywhere, it goes on, and starts none twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from videos import events
from videos.durable import admission, priorities
from videos.durable.dispatch import dispatch
from videos.durable.functions import RunContext, function
from videos.models import Run, Video
from videos.pipeline import steering

#: Videos that one step starts.
_BATCH = 100
#: Videos that one run steers: their ids are its data. More are parted among several runs.
_MAX_VIDEOS = 5_000
_MINUTE_S = 60.0
_SHOWN_LEFT_OUT = 20


class SteerRequested(BaseModel):
    """`videos/steer.requested`: reprocess, resume or cancel many videos."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["reprocess", "cancel"]
    video_ids: list[UUID] = Field(min_length=1, max_length=_MAX_VIDEOS)
    #: From which stage; none resumes each where it failed.
    from_stage: str | None = Field(default=None, max_length=32)
    #: Pay again for equal content.
    force: bool = False
    #: How many are started in a minute; 0: all at once, to wait for their turn.
    per_minute: int = Field(default=0, ge=0)
    #: Who asked for it.
    by: str = Field(default="", max_length=255)


@function("videos/steer.requested", data=SteerRequested, name="steer_videos", queue=priorities.BULK)
def steer_videos(run: RunContext, data: SteerRequested) -> None:
    """Steer the videos in batches, each a step whose result says how many it began."""
    total = len(data.video_ids)
    size = min(_BATCH, data.per_minute or _BATCH)
    for done in range(0, total, size):
        batch = data.video_ids[done : done + size]
        if done and data.per_minute:
            run.sleep(f"pause after {done}", _MINUTE_S * size / data.per_minute)
        run.step(f"{done + 1} to {done + len(batch)} of {total}", _steer, run.id, data, batch)


def start(
    video_ids: Sequence[UUID], action: Literal["reprocess", "cancel"], **how: Any
) -> list[Run]:
    """Start the runs that steer these videos, as many as hold their ids.

    `how` is as in `SteerRequested`.
    """
    return [
        started
        for at in range(0, len(video_ids), _MAX_VIDEOS)
        for started in _started(
            {"action": action, "video_ids": video_ids[at : at + _MAX_VIDEOS], **how}
        )
    ]


def _started(data: dict[str, Any]) -> Iterator[Run]:
    event = events.send("videos/steer.requested", data)
    yield from Run.objects.filter(event=event) or dispatch(event)


def _steer(run_id: UUID, data: SteerRequested, ids: Sequence[UUID]) -> dict[str, Any]:
    """Steer each, and return how many were begun, and why others were not."""
    videos = list(Video.objects.filter(pk__in=ids))
    left_out: list[str] = []
    with admission.admitting_once():
        if data.action == "cancel":
            begun = sum(video.cancel() for video in videos)
        else:
            # The same key is the same event: a batch that is tried again begins nothing twice.
            keys = {video_id: f"{run_id} {video_id}" for video_id in ids}
            its, left_out = steering.reprocess_all(
                videos, data.from_stage, force=data.force, keys=keys
            )
            begun = len(its)
        priorities.defer(ids)
    return {
        "begun": begun,
        "left_out": len(ids) - begun,
        "why": left_out[:_SHOWN_LEFT_OUT],
    }
