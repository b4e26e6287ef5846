"""The stages of a video, in their order: data, to which other apps may add.

`functions` adds ours, `videos.stages` those of other apps. What each stage reads and writes:

    stage       reads                           writes
    transcribe  the file, or its stored audio   Transcript, AudioPart, Segment, Call
    chunk       Segment                         Chunk
    embed       Chunk, Segment                  Embedding, Call
    finish      all of it                       Video.revision, ServingModel
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from videos.durable.registry import Stage
from videos.models import Revision, Video

#: What `Video.stage` holds.
MAX_NAME = 16


@dataclass(frozen=True)
class VideoStage:
    """A stage: what executes it, how a video in it looks, and when it can be left out."""

    name: str
    stage: Stage
    #: The video's status while it works.
    status: Video.Status
    #: Its share of the whole work, as progress shows it; any number beside the others'.
    weight: float
    #: The event by which a person asks to process again from here; empty: nobody can.
    event: str = ""
    #: Whether a revision has what the stage makes, so that a run that resumes begins after it.
    is_done: Callable[[Revision], bool] = lambda revision: False


class VideoStages(Mapping[str, VideoStage]):
    """Stages by name; each is followed by the next."""

    def __init__(self) -> None:
        self._stages: list[VideoStage] = []

    def add(self, stage: VideoStage, *, after: str | None) -> None:
        """Add a stage behind another, or at the beginning.

        Raises:
            ValueError: if its name is taken or too long, or there is no such other.
        """
        if stage.name in self:
            raise ValueError(f"there is a stage {stage.name!r} already")
        if not 0 < len(stage.name) <= MAX_NAME:
            raise ValueError(f"the stage {stage.name!r} needs a name of 1 to {MAX_NAME} characters")
        position = 0 if after is None else self._position(after) + 1
        self._stages.insert(position, stage)

    def __getitem__(self, name: str) -> VideoStage:
        for stage in self._stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (stage.name for stage in self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def progress(self, name: str, share: float) -> float:
        """Return which share of the whole is done, 0 to 1, when a share of a stage is."""
        whole = sum(stage.weight for stage in self._stages)
        before = sum(stage.weight for stage in self._stages[: self._position(name)])
        return (before + self[name].weight * min(max(share, 0.0), 1.0)) / whole

    def first_unfinished(self, revision: Revision) -> str:
        """Return the stage at which a run that goes on with a revision begins."""
        return next(stage.name for stage in self._stages if not stage.is_done(revision))

    def is_before(self, name: str, other: str) -> bool:
        """Whether one stage comes before another."""
        return self._position(name) < self._position(other)

    def _position(self, name: str) -> int:
        names = list(self)
        if name not in names:
            raise ValueError(f"there is no stage {name!r}: {', '.join(names)}")
        return names.index(name)


stages = VideoStages()


class StagesFrom(Mapping[str, Stage]):
    """The stages of a function: one of a video's and all after it, also those added later."""

    def __init__(self, first: str) -> None:
        self._first = first

    def __getitem__(self, name: str) -> Stage:
        if name not in iter(self):
            raise KeyError(name)
        return stages[name].stage

    def __iter__(self) -> Iterator[str]:
        return (name for name in stages if not stages.is_before(name, self._first))

    def __len__(self) -> int:
        return sum(1 for _ in self)
