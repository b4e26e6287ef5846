"""What may be uploaded: by its name and size, and by the room that its creator has left."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from videos.conf import GIB, conf
from videos.models import Upload, Video
from videos.models.video import plain_name

#: Media that Python's table of types does not know as such.
_MEDIA_ENDINGS = frozenset(
    {
        *(".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi"),
        *(".caf", ".dts", ".dv", ".eac3", ".flac", ".flv", ".gxf", ".m2ts", ".m4a", ".m4b"),
        *(".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"),
        *(".nut", ".oga", ".ogg", ".ogv", ".opus", ".rm", ".ts", ".tta", ".vob", ".w64", ".wav"),
        *(".webm", ".wma", ".wmv", ".wv"),
    }
)


@dataclass(frozen=True)
class Room:
    """How much a creator has stored, and may store in all; 0: without a limit."""

    used: int
    quota: int

    @property
    def left(self) -> int | None:
        """Bytes that may still be uploaded; None: any number."""
        return max(self.quota - self.used, 0) if self.quota else None


def room(creator: Any) -> Room:
    """Return how much of their quota a creator has used, half-done uploads included."""
    stored = Video.objects.filter(creator=creator).aggregate(total=Sum("size_bytes"))["total"]
    coming = half_done(creator).aggregate(total=Sum("size"))["total"]
    return Room((stored or 0) + (coming or 0), conf().creator_quota_bytes)


def half_done(creator: Any) -> QuerySet[Upload]:
    """Return the uploads of a creator that can go on, the newest first."""
    return Upload.objects.filter(creator=creator, completed_at=None).order_by("-created_at")


def check(creator: Any, filename: str, size: int) -> None:
    """Refuse a file by what is known before its first byte.

    Raises:
        ValidationError: saying what is wrong, and what would do.
    """
    name, limit = plain_name(filename), conf().max_upload_bytes
    known = {"name": name, "size": size / GIB, "most": limit / GIB}
    if not _is_media(name):
        raise ValidationError(
            _(
                "%(name)s is neither a video nor a recording, by its name. Choose a file such as "
                "lesson.mp4 or talk.mp3."
            )
            % known,
            code="type",
        )
    if size <= 0:
        raise ValidationError(
            _("%(name)s is empty (0 bytes). Choose the original file.") % known, code="size"
        )
    if size > limit:
        raise ValidationError(
            _(
                "%(name)s has %(size).1f GiB; %(most).1f GiB is the most. Export it in a smaller "
                "size."
            )
            % known,
            code="size",
        )
    left = room(creator).left
    if left is not None and size > left:
        raise ValidationError(
            _(
                "%(name)s has %(size).2f GiB, and there is room for %(left).2f GiB. Delete videos "
                "that are not needed, or ask for more room."
            )
            % (known | {"left": left / GIB}),
            code="quota",
        )


def _is_media(name: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    ending = PurePosixPath(name).suffix.lower()
    return ending in _MEDIA_ENDINGS or kind.startswith(("video/", "audio/"))
