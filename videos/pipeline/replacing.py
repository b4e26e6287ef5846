"""Putting another file, or a person's captions, in the place of what a video was made of."""

from __future__ import annotations

from uuid import UUID

from django.core.files import File
from django.db import transaction

from videos import events
from videos.durable import runs
from videos.models import Transcript, Video
from videos.models.video import plain_name
from videos.pipeline import starting
from videos.pipeline.deletion import delete_later
from videos.pipeline.steering import transcribe_data


def replace_file(video_id: UUID, path: str, filename: str, size: int) -> None:
    """Process a video anew with another file that is in the storage.

    Nothing of the old file is used any more; its transcript serves until the new one is complete.
    """
    with transaction.atomic():
        video = Video.objects.select_for_update(of=("self",)).get(pk=video_id)
        # A run that is at work must not store audio of the old file from here on.
        active = starting.active(video)
        runs.replace([active] if active else [])
        stored = Transcript.objects.filter(video=video).exclude(audio="")
        outdated = [video.file.name or "", video.thumbnail.name or "", video.proxy.name or ""]
        outdated += stored.values_list("audio", flat=True)
        stored.update(audio="")
        Video.objects.filter(pk=video.pk).update(thumbnail="", proxy="")
        video.file.name = path
        video.original_filename = plain_name(filename)
        video.size_bytes = size
        video.save()
        delete_later(outdated)
        events.send("video/transcribe.requested", transcribe_data(video) | {"again": True})


def replace_captions(video_id: UUID, captions: File[bytes] | None) -> None:
    """Have a video's transcript made of a person's captions; None: by recognition again."""
    with transaction.atomic():
        video = Video.objects.select_for_update(of=("self",)).get(pk=video_id)
        delete_later([video.captions.name or ""])
        video.captions = captions or ""
        video.save()
        events.send("video/transcribe.requested", transcribe_data(video) | {"again": True})
