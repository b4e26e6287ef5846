"""The thumbnail: taken while the video's file is on this machine, so that it is fetched once."""

from __future__ import annotations

import logging
from pathlib import Path

from django.core.files.base import ContentFile

from videos.audio import pictures
from videos.audio.ffmpeg_output import Probe
from videos.durable.claims import Claim
from videos.durable.transactions import after_commit
from videos.models import Video

logger = logging.getLogger(__name__)


def keep(claim: Claim, video: Video, source: Path, probe: Probe) -> None:
    """Store a frame of the file beside the video, unless there is one already.

    Whatever comes in its way costs the video nothing but the picture.
    """
    if video.thumbnail or not probe.has_pictures:
        return
    picture = pictures.frame(source, probe.announced_ms or probe.duration_ms)
    if picture is None:
        return
    storage = video.thumbnail.storage
    try:
        name = storage.save(f"{video.folder}/thumbnail.jpg", ContentFile(picture))
    except Exception as error:  # Whatever a storage raises.
        logger.warning("The thumbnail of %s could not be stored: %s", video, error)
        return
    with claim.guard():
        if not Video.objects.filter(pk=video.pk, thumbnail="").update(thumbnail=name):
            after_commit(storage.delete, name)
