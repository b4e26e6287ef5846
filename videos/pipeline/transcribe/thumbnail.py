"""The thumbnail: taken while the video's file is on this machine, so that it is fetched once."""

from __future__ import annotations

import logging
from pathlib import Path

from django.core.files.base import ContentFile

from videos.audio import pictures
from videos.audio.ffmpeg_output import Probe
from videos.durable.transactions import after_commit
from videos.models import Video

logger = logging.getLogger(__name__)


def stored(video: Video, source: Path, probe: Probe) -> str | None:
    """Store a frame of the file beside the video, unless it has one; return its name, to `record`.

    Where nobody records it, it goes with the video's folder. Whatever comes in its way costs the
    video nothing but the picture.
    """
    if video.thumbnail or not probe.has_pictures:
        return None
    picture = pictures.frame(source, probe.announced_ms or probe.duration_ms)
    if picture is None:
        return None
    try:
        return video.thumbnail.storage.save(f"{video.folder}/thumbnail.jpg", ContentFile(picture))
    except Exception as error:  # Whatever a storage raises.
        logger.warning("The thumbnail of %s could not be stored: %s", video, error)
        return None


def record(video: Video, name: str | None) -> None:
    """Show a stored frame, inside `guard`, unless the video has got one meanwhile."""
    if name and not Video.objects.filter(pk=video.pk, thumbnail="").update(thumbnail=name):
        after_commit(video.thumbnail.storage.delete, name)
