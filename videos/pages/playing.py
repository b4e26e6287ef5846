"""What the player and the transcript beside it need to know of a video."""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from videos.models import Video
from videos.pipeline import proxy

#: What browsers play by themselves; of anything else they may have the sound, or nothing.
_PLAYABLE = {
    *("video/mp4", "video/webm", "video/ogg", "video/quicktime", "audio/mpeg", "audio/mp4"),
    *("audio/ogg", "audio/webm", "audio/wav", "audio/x-wav", "audio/flac", "audio/x-flac"),
    *("audio/aac", "audio/x-m4a"),
}
_MAX_S = 10**6
_CLOCK = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,6})?)", re.ASCII)
_UNITS = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,4})m)?(?:(\d{1,7})s)?", re.ASCII)


def player_context(video: Video, start: str | None = None) -> dict[str, Any]:
    """Return what the player's template is given; `start` is a deep link's, in seconds."""
    name = (video.proxy.name if video.proxy else video.original_filename) or ""
    kind = mimetypes.guess_type(name)[0] or ""
    return {
        "video": video,
        "start": _seconds(start),
        "is_audio": kind.startswith("audio/"),
        "is_playable": kind in _PLAYABLE,
        "is_copy_being_made": kind not in _PLAYABLE and proxy.is_being_made(video),
        "has_captions": video.revision_id is not None,
        "language": video.detected_language or video.language or "en",
    }


def _seconds(text: str | None) -> float:
    """Return the seconds of a deep link: 90, 1:30 or 1m30s; anything else is the beginning."""
    parts = _CLOCK.fullmatch(text or "") or _UNITS.fullmatch(text or "")
    if parts is None or not any(parts.groups()):
        return 0.0
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    whole = 3600 * hours + 60 * minutes + seconds
    return whole if whole < _MAX_S else 0.0
