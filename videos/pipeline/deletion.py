"""Deleting from the storage what the database no longer knows: written down first, then done.

A storage that fails, or a process that is killed, leaves rows, and the sweep goes on with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from videos.durable.backoff import next_attempt_at
from videos.durable.transactions import after_commit
from videos.models import StorageDeletion, Transcript, Video
from videos.text.storable import error_message

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 5
_MAX_AT_ONCE = 200


def delete_later(paths: Iterable[str]) -> None:
    """Have files be deleted once the transaction that is open commits; a folder ends in "/"."""
    rows = StorageDeletion.objects.bulk_create(
        StorageDeletion(path=path) for path in sorted(set(paths)) if path
    )
    after_commit(_delete, [row.pk for row in rows])


def due() -> QuerySet[StorageDeletion]:
    """Return what is to be deleted now."""
    return StorageDeletion.objects.filter(next_attempt_at__lte=Now())


def delete_due() -> None:
    """Delete what is due, the oldest first."""
    _delete(list(due().order_by("next_attempt_at").values_list("pk", flat=True)[:_MAX_AT_ONCE]))


def _delete(ids: Iterable[int]) -> None:
    for row_id in ids:
        row = _claim(row_id)
        if row is None:
            continue
        try:
            if row.attempts and _is_in_use(row.path):
                row.delete()
                continue
            _delete_path(Video._meta.get_field("file").storage, row.path)
        except Exception as error:  # Whatever a storage raises; the row says so, and stays.
            logger.warning("%s could not be deleted, trying again: %s", row.path, error)
            StorageDeletion.objects.filter(pk=row_id).update(error=error_message(error))
        else:
            row.delete()


def _claim(row_id: int) -> StorageDeletion | None:
    """Take a row for one attempt; of two processes, the second finds it locked or not due."""
    with transaction.atomic():
        row = due().select_for_update(skip_locked=True).filter(pk=row_id).first()
        if row is not None:
            StorageDeletion.objects.filter(pk=row_id).update(
                attempts=F("attempts") + 1,
                next_attempt_at=next_attempt_at(_FIRST_PAUSE_S, F("attempts")),
            )
    return row


def _is_in_use(path: str) -> bool:
    """Whether a file got an owner again since it was to be deleted: other code may name files."""
    return (
        Video.objects.filter(Q(file=path) | Q(captions=path)).exists()
        or Transcript.objects.filter(audio=path).exists()
    )


def _delete_path(storage: Storage, path: str) -> None:
    if not path.endswith("/"):
        storage.delete(path)
        return
    try:
        _, names = storage.listdir(path)
    except (FileNotFoundError, NotImplementedError):
        return
    for name in names:
        storage.delete(path + name)
    try:
        storage.path(path)
    except NotImplementedError:
        return  # Only on a disk is a folder more than the beginning of names.
    storage.delete(path)
