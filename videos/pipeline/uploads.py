"""Uploads that go on after a break: begun, written piece by piece, finished as a video.

Whoever writes holds a lease on the row, renewed every few seconds; every step forward is an
update that names the writer, so that one whose lease ran out changes nothing any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from videos.conf import conf
from videos.durable import transactions
from videos.durable.registry import Chore, registry
from videos.durable.transactions import after_commit
from videos.exceptions import MissingFile
from videos.models import Upload, Video
from videos.models.video import plain_name
from videos.pipeline.deletion import delete_later
from videos.pipeline.pieces import Pieces, piece_bytes, pieces_of
from videos.pipeline.quota import check, half_done
from videos.pipeline.replacing import replace_file

logger = logging.getLogger(__name__)

#: A writer without news for so long is gone: its connection broke, or its process died.
_LEASE = timedelta(seconds=20)
_RENEW_S = 5.0
_BLOCK_BYTES = 64 * 1024
#: Of one creator, half-done.
_MAX_HALF_DONE = 100
_RETRY = timedelta(minutes=1)
_MAX_AT_ONCE = 100


class NotHere(Exception):
    """A writer's bytes do not begin where the upload ends, or another is writing."""


class TooSmall(Exception):
    """The storage takes larger pieces only; `least` bytes are wanted at once."""

    def __init__(self, least: int) -> None:
        super().__init__(f"Send at least {least} bytes in a request, or all that are left.")
        self.least = least


def is_resumable() -> bool:
    """Whether the storage of videos takes files in pieces."""
    return _pieces() is not None


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
        ValidationError: as `quota.check`, or if too many are half-done.
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
