"""Where the runs of videos begin, for one event or for many.

What the videos have is read at once, decided for each, and what is started is written at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet, prefetch_related_objects

from videos.durable import priorities, runs
from videos.durable.models import ACTIVE_STATES
from videos.durable.registry import Function
from videos.models import Event, Revision, Run, Step, Video
from videos.pipeline import statuses
from videos.pipeline.stages import stages

ENDED_BADLY = (Video.Status.FAILED, Video.Status.CANCELLED)


@dataclass(frozen=True)
class _Standing:
    """What a video, which is locked, has when an event asks for it."""

    video: Video
    event: Event
    #: Its newest run, which may be active.
    last: Run | None
    #: What a run can go on with: what the last run left unfinished, what is in force.
    candidates: list[Revision]

    @property
    def active(self) -> Run | None:
        """The run that has not ended, if any: a newer one would have taken its place."""
        return self.last if self.last and self.last.state in ACTIVE_STATES else None

    def is_joined(self, function: Function, data: dict[str, Any]) -> bool:
        """Whether the video's run does just what is asked for, so that no other is needed."""
        run = _joinable(self.active)
        return run is not None and (run.function, run.data) == (function.name, data)

    def failed_run(self, revision: Revision) -> Run | None:
        """Return the failed or cancelled run of a revision that a new one goes on with."""
        is_its = self.last is not None and self.last.revision_id == revision.pk
        return self.last if is_its and self.video.status in ENDED_BADLY else None


@dataclass(frozen=True)
class _Beginning:
    """A run to be created: that of a video, which makes a revision from a stage on."""

    standing: _Standing
    stage: str
    revision: Revision
    data: dict[str, Any]
    queue: str = "default"
    #: The run whose finished steps of the stage are taken over, so that none is paid for again.
    goes_on_with: Run | None = None


def start_processing(events: Sequence[Event], function: Function) -> list[Run]:
    """Start the whole pipeline; nothing for a completed video, unless forced."""

    def begins(standings: Sequence[_Standing]) -> Iterator[_Beginning]:
        unfinished = [each.candidates[0] for each in standings if each.candidates]
        ended_at = _last_stages(unfinished)
        for standing in standings:
            data = standing.event.data
            is_again = bool(data.get("force") or data.get("again"))
            if is_again and not standing.is_joined(function, data):
                revision = Revision(video=standing.video)
                yield _Beginning(standing, next(iter(stages)), revision, data)
            is_wanted = standing.video.status != Video.Status.COMPLETED
            if not is_again and is_wanted and not _joinable(standing.active):
                revision = _goes_on_with(standing.video, standing.candidates)
                stage = _first_stage(revision, ended_at.get(revision.pk))
                yield _Beginning(standing, stage, revision, data)

    return _begin_all(function, _named(events), begins)


def start_from(stage: str, events: Sequence[Event], function: Function) -> list[Run]:
    """Process again from a stage, whatever is there before it.

    From chunking on, and before it, a revision is made anew of the newest complete transcript;
    after it, the stages go on with what is in force, or with what an unfinished run has chunked.
    """

    def begins(standings: Sequence[_Standing]) -> Iterator[_Beginning]:
        goes_on = stages.is_before("chunk", stage)
        bases = {} if goes_on else _newest_transcribed(standings)
        for standing in standings:
            revision = bases.get(standing.video.pk)
            if goes_on:
                revision = next((each for each in standing.candidates if each.chunked_at), None)
            elif revision is not None:
                revision = Revision(video=standing.video, transcript=revision.transcript)
            data = standing.event.data
            if revision is not None and not standing.is_joined(function, data):
                before = standing.failed_run(revision)
                yield _Beginning(standing, stage, revision, data, goes_on_with=before)

    return _begin_all(function, _named(events), begins)


def start_embedding(events: Sequence[Event], function: Function) -> list[Run]:
    """Embed again what is in force, or what an unfinished run has chunked."""
    return _start_embedding(_named(events), function, "default")


def start_batch_embedding(events: Sequence[Event], function: Function) -> list[Run]:
    """Embed many videos again, on the queue `bulk`."""
    named = [(event, UUID(each)) for event in events for each in event.data["video_ids"]]
    return _start_embedding(named, function, priorities.BULK)


def _start_embedding(
    named: Iterable[tuple[Event, UUID]], function: Function, queue: str
) -> list[Run]:
    def begins(standings: Sequence[_Standing]) -> Iterator[_Beginning]:
        for standing in standings:
            chunk_ids = standing.event.data.get("chunk_ids")
            for revision in standing.candidates:
                has_them = not chunk_ids or revision.chunks.filter(pk__in=chunk_ids).exists()
                if not revision.chunked_at or not has_them:
                    continue
                is_in_force = revision.pk == standing.video.revision_id
                data = standing.event.data | {"embed_again": is_in_force}
                if not standing.is_joined(function, data):
                    before = standing.failed_run(revision)
                    yield _Beginning(standing, "embed", revision, data, queue, before)
                break

    return _begin_all(function, named, begins)


def cancel(events: Sequence[Event], function: Function) -> list[Run]:
    """Cancel the videos' runs; this needs no run of its own."""
    for standings in _standings(_named(events)):
        for run in filter(None, (each.active for each in standings)):
            runs.request_cancellation(run)
    return []


def locked(video_id: UUID) -> Video | None:
    """Lock a video in the transaction that is open, and return it if it is there."""
    return Video.objects.select_for_update(of=("self",)).filter(pk=video_id).first()


def active(video: Video) -> Run | None:
    """Return the video's run that has not ended, if any."""
    return Run.objects.filter(video=video, state__in=ACTIVE_STATES).first()


def resuming_stages(videos: Sequence[Video]) -> dict[UUID, str]:
    """Return, by video, the stage at which a run of it goes on."""
    prefetch_related_objects(videos, "revision__transcript")
    unfinished = _unfinished([video.pk for video in videos])
    goes_on = {video.pk: _goes_on_with(video, _candidates(video, unfinished)) for video in videos}
    ended_at = _last_stages(list(goes_on.values()))
    return {
        video_id: _first_stage(revision, ended_at.get(revision.pk))
        for video_id, revision in goes_on.items()
    }


def _goes_on_with(video: Video, candidates: Sequence[Revision]) -> Revision:
    """Return the revision that a resumed run makes; a new one where there is nothing yet."""
    return candidates[0] if candidates else Revision(video=video)


def _named(events: Sequence[Event]) -> list[tuple[Event, UUID]]:
    return [(event, UUID(event.data["video_id"])) for event in events]


def _joinable(run: Run | None) -> Run | None:
    """Return a video's run, unless it is about to end because somebody cancelled it."""
    return None if run is None or run.cancel_requested else run


def _first_stage(revision: Revision, ended_at: str | None) -> str:
    """Return the first stage whose work is not there, or that where its last run ended."""
    stage = stages.first_unfinished(revision)
    if ended_at is None or ended_at not in stages or stages.is_before(stage, ended_at):
        return stage
    return ended_at


def _standings(named: Iterable[tuple[Event, UUID]]) -> Iterator[list[_Standing]]:
    """Lock the videos that events name, and yield what they have; a video is in a list once.

    Left out is what there is no more, and what something newer was asked for: an event that was
    set aside, or whose process died, is dispatched late.
    """
    rest = list(named)
    while rest:
        first: dict[UUID, Event] = {}
        others = []
        for event, video_id in rest:
            if first.setdefault(video_id, event) is not event:
                others.append((event, video_id))
        yield _standing(first)
        rest = others


def _standing(events: dict[UUID, Event]) -> list[_Standing]:
    locked_rows = Video.objects.select_for_update(of=("self",)).filter(pk__in=events)
    videos = list(locked_rows.order_by("pk"))
    # Only now: joined, they would be those from before whatever the lock was waited for.
    prefetch_related_objects(videos, "revision__transcript")
    newest_runs = Run.objects.filter(video__in=videos).order_by("video_id", "-created_at")
    last = {run.video_id: run for run in newest_runs.distinct("video_id")}
    unfinished = _unfinished(events)
    standings = [
        _Standing(video, events[video.pk], last.get(video.pk), _candidates(video, unfinished))
        for video in videos
    ]
    return [
        each for each in standings if not each.last or each.last.created_at <= each.event.created_at
    ]


def _unfinished(video_ids: Iterable[UUID]) -> dict[UUID, Revision]:
    """Return the newest revision of each video that has one newer than that in force."""
    is_newer = Q(created_at__gt=F("video__revision__created_at"))
    return _newest(Revision.objects.filter(is_newer | Q(video__revision=None), video__in=video_ids))


def _candidates(video: Video, unfinished: dict[UUID, Revision]) -> list[Revision]:
    return [each for each in (unfinished.get(video.pk), video.revision) if each]


def _newest_transcribed(standings: Sequence[_Standing]) -> dict[UUID, Revision]:
    videos = [standing.video for standing in standings]
    return _newest(
        Revision.objects.filter(video__in=videos, transcript__completed_at__isnull=False)
    )


def _newest(rows: QuerySet[Revision]) -> dict[UUID, Revision]:
    """Return the newest revision of each video, with its transcript."""
    newest = rows.select_related("transcript").order_by("video_id", "-created_at")
    return {row.video_id: row for row in newest.distinct("video_id")}


def _last_stages(revisions: Sequence[Revision]) -> dict[UUID, str]:
    """Return at which stage the last run of each revision was."""
    rows = Run.objects.filter(revision__in=revisions).order_by("revision_id", "-created_at")
    return dict(rows.distinct("revision_id").values_list("revision", "stage"))


def _begin_all(
    function: Function,
    named: Iterable[tuple[Event, UUID]],
    begins: Callable[[Sequence[_Standing]], Iterable[_Beginning]],
) -> list[Run]:
    """Create the runs that `begins` decides on, from what the videos of events have."""
    return [run for each in _standings(named) for run in _begin(function, begins(each))]


def _begin(function: Function, wanted: Iterable[_Beginning]) -> list[Run]:
    """Create the runs that make revisions, in the place of any run that the videos have."""
    beginnings = list(wanted)
    if not beginnings:
        return []
    runs.replace([run for each in beginnings if (run := each.standing.active)])
    Revision.objects.bulk_create(
        each.revision for each in beginnings if each.revision._state.adding
    )
    by_stage = defaultdict(list)
    for each in beginnings:
        by_stage[each.stage].append(each.standing.video.pk)
    for stage, video_ids in by_stage.items():
        statuses.requested(video_ids, stage)
    created = runs.create_all(
        Run(
            function=function.name,
            stage=each.stage,
            queue=each.queue,
            data=each.data,
            event=each.standing.event,
            video=each.standing.video,
            creator_id=each.standing.video.creator_id,
            revision=each.revision,
        )
        for each in beginnings
    )
    _inherit_steps(
        {
            each.goes_on_with.pk: run
            for each, run in zip(beginnings, created, strict=True)
            if each.goes_on_with
        }
    )
    return created


def _inherit_steps(before: dict[UUID, Run]) -> None:
    """Give each run what the run before it has done of its stage."""
    done = Step.objects.filter(run__in=before, state=Step.State.DONE) if before else ()
    runs.inherit_steps(
        (before[step.run_id], step) for step in done if step.stage == before[step.run_id].stage
    )
