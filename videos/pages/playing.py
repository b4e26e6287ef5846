"""What the player and the transcript beside it need to know of a video."""

from __future__ import annotations

import mimetypes
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
    """Return the seconds of a deep link; anything that is none is the beginning."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < _MAX_S else 0.0
