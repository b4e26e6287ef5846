"""The function `make_proxy`: a copy that browsers play, of a file that they do not; on demand."""

from __future__ import annotations

from django.core.files import File
from django.db import transaction

from videos import events
from videos.audio import ffmpeg, playable
from videos.conf import conf
from videos.durable import runs
from videos.durable.claims import Claim
from videos.durable.registry import WHOLE, Function, Stage, registry
from videos.durable.transactions import after_commit
from videos.events import VideoData
from videos.exceptions import UnreadableMedia
from videos.local import workdirs
from videos.models import ACTIVE_STATES, Event, Run, Video
from videos.pipeline import storage

EVENT = "video/proxy.requested"
_NAME = "make_proxy"
_RETRIES = 1
#: Seconds of CPU time for a second of media, and for the smallest file.
_CPU_PER_S = 6
_MIN_CPU_S = 600
_SPARE_BYTES = 1024**3


def is_being_made(video: Video) -> bool:
    """Whether a run is making a copy of the video now, or will."""
    return Run.objects.filter(
        function=_NAME, data__video_id=str(video.pk), state__in=ACTIVE_STATES
    ).exists()


def request(video: Video) -> None:
    """Have a copy made, unless there is one, or one is being made."""
    with transaction.atomic():
        locked = Video.objects.select_for_update(of=("self",)).get(pk=video.pk)
        if not locked.proxy and not is_being_made(locked):
            events.send(EVENT, {"video_id": video.pk, "creator_id": video.creator_id})


def start(event: Event, function: Function) -> list[Run]:
    """Start a run of its own, beside whatever the pipeline does with the video."""
    video = Video.objects.filter(pk=event.data["video_id"]).first()
    if video is None or video.proxy or is_being_made(video):
        return []
    run = runs.create(function, data=event.data, event_id=event.pk, creator_id=video.creator_id)
    return [run] if run else []


def make_proxy(claim: Claim) -> None:
    """Make the copy on this machine, store it beside the video, and let players have it.

    Raises:
        UnreadableMedia: if ffmpeg cannot make one.
    """
    video = Video.objects.filter(pk=claim.run.data["video_id"]).first()
    if video is not None and not video.proxy:
        _make(claim, video)
    with claim.guard() as run:
        runs.complete(run)


def _make(claim: Claim, video: Video) -> None:
    before = video.file.name
    with workdirs.folder() as folder:
        source, _ = storage.fetch(video, folder, claim)
        probe = ffmpeg.probe(source)
        media_s = int((probe.announced_ms or probe.duration_ms or 0) / 1000)
        media_s = media_s or conf().max_duration_s
        cpu_s = _MIN_CPU_S + _CPU_PER_S * media_s
        claim.extend_deadline(cpu_s)
        target = folder / "proxy.mp4"
        try:
            playable.convert(
                source,
                target,
                has_pictures=probe.has_pictures,
                cpu_s=cpu_s,
                max_bytes=2 * source.stat().st_size + _SPARE_BYTES,
                check=claim.check,
            )
        except playable.NotConverted as error:
            raise UnreadableMedia(
                f"No version for browsers could be made of this file: {error}. Export it as MP4 "
                "with H.264 and AAC, and upload that in its place."
            ) from error
        ending = "mp4" if probe.has_pictures else "m4a"
        kept = video.proxy.storage
        with target.open("rb") as made:
            name = kept.save(f"{video.folder}/proxy.{ending}", File(made))
    with claim.guard():
        # Of a file that was replaced meanwhile, it is of no use.
        if not Video.objects.filter(pk=video.pk, file=before, proxy="").update(proxy=name):
            after_commit(kept.delete, name)


events.add_video_type(EVENT, VideoData)
registry.add_function(
    Function(_NAME, EVENT, {WHOLE: Stage(_NAME, make_proxy, _RETRIES)}, start=start)
)
