"""Stages of one's own in the pipeline of a video: for example, a summary of what was said.

from videos.stages import StageContext, stage

@stage("summarize", after="chunk")
def summarize(run: StageContext) -> None:
    text = run.step("text", read_text, run.video.pk)
    run.paid_step("summary", "chat", "gpt-5-mini", ask_for_summary(text), tokens=4_000)

Put it into the `actors.py` of an installed app. The video passes through it like through ours: it
is retried, resumed, cancelled, shown, and `reprocess --from summarize` begins with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from videos import events
from videos.durable import runs
from videos.durable.claims import Claim
from videos.durable.functions import RunContext, declare_actor
from videos.durable.paid_calls import PaidAnswer
from videos.durable.registry import Function, check_callee, registry
from videos.durable.retries import DEFAULT_RETRIES
from videos.models import Chunk, Revision, Run, Segment, Video
from videos.pipeline import functions, starting, statuses
from videos.pipeline.stages import StagesFrom, stages

__all__ = ["PaidAnswer", "StageContext", "stage"]

#: Of the whole work, in which transcribing counts 85, embedding 10.
_WEIGHT = 5
_NAME = re.compile(r"[a-z][a-z0-9_-]*")

Callee = TypeVar("Callee", bound=Callable[..., object])


class StageContext(RunContext):
    """What a stage gets as `run`: steps, paid steps, and the video."""

    def __init__(self, claim: Claim, run: Run) -> None:
        super().__init__(claim, run)
        assert run.video is not None and claim.run.revision is not None
        self.video: Video = run.video
        #: What the run makes of the video: not in force before the last stage has ended.
        self.revision: Revision = claim.run.revision

    @property
    def segments(self) -> list[Segment]:
        """What was said, in order; nothing before `transcribe`."""
        transcript = self.revision.transcript
        return list(transcript.segments.all()) if transcript else []

    @property
    def chunks(self) -> list[Chunk]:
        """The 500 to 1000 words that each chunk holds, in order; nothing before `chunk`."""
        return list(self.revision.chunks.all())

    def progress(self, share: float) -> None:
        """Show which share of the stage is done, 0 to 1."""
        with self._claim.guard():
            statuses.progressed(self.video.pk, self._claim.stage, share)


def stage(
    name: str, *, after: str, retries: int = DEFAULT_RETRIES, weight: float = _WEIGHT
) -> Callable[[Callee], Callee]:
    """Make `def f(run)` a stage of every video, and `video/NAME.requested` what starts from it.

    Args:
        name: 1 to 16 characters; `Video.stage` and the commands name the stage so.
        after: the stage behind which it comes: "transcribe", "chunk", "embed", or another's.
        retries: how often a failed step is tried again.
        weight: its share of a video's progress beside the others' (85, 3, 10 and 2).

    Raises:
        ValueError: for a name that is taken or too long, a stage that does not exist or is the
            last, a callable that does not take one argument.
    """

    def register(callee: Callee) -> Callee:
        check_callee(callee, "run")
        _check(name, after, weight)
        actor = f"{callee.__module__.removesuffix('.actors')}.{callee.__name__}"
        event = f"video/{name}.requested"
        functions.add_stage(
            name,
            actor,
            partial(_work, callee),
            after=after,
            status=stages[after].status,
            weight=weight,
            retries=retries,
            event=event,
            # Whether it has done its work, only its own run can tell: one that resumes begins where
            # that ended, with the steps that it has finished.
            is_done=lambda revision: True,
        )
        events.add_video_type(event, events.VideoData)
        starts = partial(starting.start_from, name)
        registry.add_function(Function(actor, event, StagesFrom(name), start_all=starts, pays=True))
        declare_actor(actor, name)
        return callee

    return register


def _check(name: str, after: str, weight: float) -> None:
    """Refuse a stage that could never have its place."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"the stage {name!r} needs a name of small letters, digits, _ and -")
    if after not in stages:
        raise ValueError(
            f"{name}: there is no stage {after!r} yet, but {', '.join(stages)}. A stage of "
            "another app is there once that app comes earlier in INSTALLED_APPS."
        )
    if weight <= 0:
        raise ValueError(f"{name}: its weight is more than 0, not {weight}")
    if after == next(reversed(list(stages))):
        raise ValueError(f"{name}: no stage comes after {after!r}, which completes the video")


def _work(callee: Callable[[StageContext], object], claim: Claim) -> None:
    context = StageContext(
        claim, Run.objects.select_related("parent", "video").get(pk=claim.run.pk)
    )
    callee(context)
    context.raise_if_ended()
    with claim.guard() as run:
        runs.advance(claim, run)
