"""Uploads that go on after a break: begun, written piece by piece, finished as a video.

Whoever writes holds a lease on the row, renewed every few seconds; every step forward is an
update that names the writer, so that one whose lease ran out changes nothing any more.
"""

from __future__ import annotations

import logging
import mimetypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from videos import events
from videos.conf import GIB, conf
from videos.durable import runs, transactions
from videos.durable.registry import Chore, registry
from videos.durable.transactions import after_commit
from videos.exceptions import MissingFile
from videos.models import Transcript, Upload, Video
from videos.models.video import plain_name
from videos.pipeline import starting
from videos.pipeline.deletion import delete_later
from videos.pipeline.pieces import Pieces, piece_bytes, pieces_of
from videos.pipeline.steering import transcribe_data

logger = logging.getLogger(__name__)

#: A writer without news for so long is gone: its connection broke, or its process died.
_LEASE = timedelta(seconds=20)
_RENEW_S = 5.0
_BLOCK_BYTES = 64 * 1024
#: Of one creator, half-done.
_MAX_HALF_DONE = 100
_RETRY = timedelta(minutes=1)
_MAX_AT_ONCE = 100
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


class NotHere(Exception):
    """A writer's bytes do not begin where the upload ends, or another is writing."""


class TooSmall(Exception):
    """The storage takes larger pieces only; `least` bytes are wanted at once."""

    def __init__(self, least: int) -> None:
        super().__init__(f"Send at least {least} bytes in a request, or all that are left.")
        self.least = least


@dataclass(frozen=True)
class Room:
    """How much a creator has stored, and may store in all; 0: without a limit."""

    used: int
    quota: int

    @property
    def left(self) -> int | None:
        """Bytes that may still be uploaded; None: any number."""
        return max(self.quota - self.used, 0) if self.quota else None


def is_resumable() -> bool:
    """Whether the storage of videos takes files in pieces."""
    return _pieces() is not None


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
    ending = PurePosixPath(name).suffix.lower()
    kind = mimetypes.guess_type(name)[0] or ""
    known = {"name": name, "size": size / GIB, "most": limit / GIB}
    if ending not in _MEDIA_ENDINGS and not kind.startswith(("video/", "audio/")):
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


def begin(
    creator: Any,
    filename: str,
    size: int,
    *,
    title: str = "",
    language: str = "",
    captions: File[bytes] | None = None,
    replaces: Video | None = None,
) -> Upload:
    """Begin an upload; its bytes come by `receive`.

    Raises:
        ValidationError: as `check`, or if too many are half-done.
    """
    with transaction.atomic():
        # Two that begin at once must not both take the last of the room.
        transactions.hold_text(f"uploads of {creator.pk}")
        check(creator, filename, size)
        if half_done(creator).count() >= _MAX_HALF_DONE:
            raise ValidationError(
                _("%(count)d uploads are half-done. Finish or remove some of them first.")
                % {"count": _MAX_HALF_DONE},
                code="half_done",
            )
        upload = Upload.objects.create(
            creator=creator,
            replaces=replaces,
            original_filename=plain_name(filename),
            title=title,
            language=language,
            captions=captions,
            size=size,
            expires_at=Now() + timedelta(seconds=conf().upload_retention_s),
        )
    upload.refresh_from_db()
    return upload


def receive(upload: Upload, offset: int, read: Callable[[int], bytes]) -> None:
    """Store bytes that begin at `offset` until `read` has no more; `upload` tells how many.

    Raises:
        NotHere: if the upload ends elsewhere, or is being written.
        TooSmall: if the storage takes no piece so small.
        OSError: if reading breaks off, or the storage fails; what was stored stays.
    """
    writer = uuid4()
    free = Q(writing_until=None) | Q(writing_until__lt=Now())
    mine = Upload.objects.filter(pk=upload.pk, completed_at=None, offset=offset).filter(free)
    if not mine.update(writer=writer, writing_until=Now() + _LEASE):
        raise NotHere
    upload.refresh_from_db()
    writing = _Writing(upload, writer)
    try:
        writing.take(read)
    finally:
        Upload.objects.filter(pk=upload.pk, writer=writer).update(writer=None, writing_until=None)
    if upload.has_arrived:
        finish(upload)
    upload.refresh_from_db()


class _Writing:
    """One request's bytes on their way into the storage."""

    def __init__(self, upload: Upload, writer: UUID) -> None:
        self._upload = upload
        self._writer = writer
        self._pieces = _needed_pieces()
        self._piece_bytes = piece_bytes(upload.size)
        self._piece = bytearray()
        self._renewed = time.monotonic()

    def take(self, read: Callable[[int], bytes]) -> None:
        upload = self._upload
        before = upload.offset
        try:
            while wanted := upload.size - upload.offset - len(self._piece):
                block = read(min(wanted, _BLOCK_BYTES, self._piece_bytes - len(self._piece)))
                if not block:
                    break
                self._piece += block
                is_late = time.monotonic() - self._renewed > _RENEW_S
                if len(self._piece) == self._piece_bytes or is_late:
                    self._store_or_renew()
        finally:
            # Also what had come when the connection broke.
            self._store_or_renew()
        if self._piece and upload.offset == before:
            raise TooSmall(self._piece_bytes)

    def _store_or_renew(self) -> None:
        upload = self._upload
        is_last = upload.offset + len(self._piece) == upload.size
        is_whole = len(self._piece) == self._piece_bytes or is_last
        fields: dict[str, Any] = {"writing_until": Now() + _LEASE}
        if self._piece and (is_whole or self._pieces.takes_any_size):
            fields["storage_state"] = self._pieces.write(
                upload.path, upload.storage_state, upload.offset, bytes(self._piece)
            )
            fields["offset"] = upload.offset + len(self._piece)
            retention = timedelta(seconds=conf().upload_retention_s)
            # Should this process die before it has made a video of it, the sweep will.
            fields["expires_at"] = Now() + (_RETRY if is_last else retention)
        # One whose lease another has taken stops here, and what it wrote is written again.
        if not Upload.objects.filter(pk=upload.pk, writer=self._writer).update(**fields):
            raise NotHere
        self._renewed = time.monotonic()
        if "offset" in fields:
            upload.offset, upload.storage_state = fields["offset"], fields["storage_state"]
            self._piece.clear()


def finish(upload: Upload) -> None:
    """Make a video of a file that has arrived, or put it in the place of another; once.

    Raises:
        MissingFile: if the storage has lost it.
    """
    _needed_pieces().complete(upload.path, upload.storage_state, upload.size)
    with transaction.atomic():
        held = Upload.objects.select_for_update().filter(pk=upload.pk, completed_at=None).first()
        if held is None:
            return
        if held.replaces_id is None:
            _create_video(held)
        else:
            replace_file(held.replaces_id, held.path, held.original_filename, held.size)
        retention = timedelta(seconds=conf().upload_retention_s)
        Upload.objects.filter(pk=held.pk).update(
            completed_at=Now(), expires_at=Now() + retention, captions=""
        )


def _create_video(upload: Upload) -> None:
    Video.objects.create(
        pk=upload.pk,
        creator=upload.creator,
        file=upload.path,
        original_filename=upload.original_filename,
        size_bytes=upload.size,
        title=upload.title,
        language=upload.language,
        captions=upload.captions.name,
    )


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


def forget(upload: Upload) -> None:
    """Delete an upload with what has arrived of it; of a finished one, the row alone."""
    with transaction.atomic():
        # Of two, the one that makes a video of it and this one, the second finds it done.
        held = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        if held is not None:
            held.delete()


def delete_pieces_later(upload: Upload) -> None:
    """Have what has arrived deleted once the transaction that is open commits."""
    delete_later([upload.path, upload.captions.name or ""])
    if pieces := _pieces():
        after_commit(pieces.abandon, upload.path, upload.storage_state)


def due() -> QuerySet[Upload]:
    """Return what has expired, and what has arrived and is no video yet."""
    return Upload.objects.filter(expires_at__lte=Now())


def settle_due() -> None:
    """Forget what has expired; finish what has arrived, whose process has died."""
    for upload in due().order_by("expires_at")[:_MAX_AT_ONCE]:
        try:
            if upload.has_arrived and upload.completed_at is None:
                _finish_or_forget(upload)
            else:
                forget(upload)
        except Exception as error:  # Whatever a storage raises; the row stays, and is due again.
            logger.warning("The upload %s could not be settled, trying again: %s", upload, error)
            Upload.objects.filter(pk=upload.pk).update(expires_at=Now() + _RETRY)


def _finish_or_forget(upload: Upload) -> None:
    try:
        finish(upload)
    except MissingFile as error:
        logger.warning("The upload %s is forgotten: %s", upload, error)
        forget(upload)


def _pieces() -> Pieces | None:
    return pieces_of(Video._meta.get_field("file").storage)


def _needed_pieces() -> Pieces:
    pieces = _pieces()
    assert pieces is not None, "nothing is begun where the storage takes no pieces"
    return pieces


registry.chores["uploads"] = Chore(due, settle_due)
