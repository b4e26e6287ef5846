"""Writing a file into the storage piece by piece, as it arrives: to a disk, or to a bucket."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from django.core.files.storage import FileSystemStorage, Storage

from videos.exceptions import MissingFile

_PIECE_BYTES = 8 * 1024**2
#: S3 takes 10,000 parts (Amazon S3 User Guide, "multipart upload limits").
_MAX_PIECES = 9_000


class Pieces(Protocol):
    """How a storage takes a file in pieces."""

    #: Whether a piece may be smaller than `piece_bytes` although others follow.
    takes_any_size: bool

    def write(self, path: str, state: dict[str, Any], offset: int, piece: bytes) -> dict[str, Any]:
        """Store a piece so that a crash does not lose it; return the state to go on with.

        The same piece may be written twice.

        Raises:
            OSError: if the disk has no room, or does not answer.
            Exception: of boto3, if the bucket does not take it.
        """

    def complete(self, path: str, state: dict[str, Any], size: int) -> None:
        """Make the file of its pieces; once more costs nothing.

        Raises:
            MissingFile: if the storage has lost them.
        """

    def abandon(self, path: str, state: dict[str, Any]) -> None:
        """Delete what was written."""


def piece_bytes(size: int) -> int:
    """Return how many bytes each piece of a file has; the last one has what is left."""
    return max(_PIECE_BYTES, math.ceil(size / _MAX_PIECES))


def pieces_of(storage: Storage) -> Pieces | None:
    """Return how a storage takes pieces, if it is one that does."""
    if hasattr(storage, "bucket") and hasattr(storage, "connection"):
        return _BucketPieces(storage)
    try:
        storage.path("x")
    except NotImplementedError:
        return None
    return _DiskPieces(storage)


class _DiskPieces:
    takes_any_size = True

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, path: str, state: dict[str, Any], offset: int, piece: bytes) -> dict[str, Any]:
        target = Path(self._storage.path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(piece)
            while left:
                written = os.pwrite(file, left, offset)
                left, offset = left[written:], offset + written
            os.fdatasync(file)
        finally:
            os.close(file)
        return state

    def complete(self, path: str, state: dict[str, Any], size: int) -> None:
        target = Path(self._storage.path(path))
        if not target.is_file() or target.stat().st_size != size:
            raise MissingFile(f"The storage has lost a part of {path!r}. Upload the file again.")
        mode = None
        if isinstance(self._storage, FileSystemStorage):
            mode = self._storage.file_permissions_mode
        if mode is not None:
            target.chmod(mode)

    def abandon(self, path: str, state: dict[str, Any]) -> None:
        self._storage.delete(path)


class _BucketPieces:
    """S3's multipart upload, through the objects that django-storages has."""

    takes_any_size = False

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def write(self, path: str, state: dict[str, Any], offset: int, piece: bytes) -> dict[str, Any]:
        target = self._object(path)
        if "upload_id" not in state:
            begun = target.initiate_multipart_upload()
            state = {"upload_id": begun.id, "piece_bytes": len(piece)}
        number = offset // state["piece_bytes"] + 1
        target.MultipartUpload(state["upload_id"]).Part(number).upload(Body=piece)
        return state

    def complete(self, path: str, state: dict[str, Any], size: int) -> None:
        multipart = self._object(path).MultipartUpload(state["upload_id"])
        try:
            parts = [
                {"PartNumber": part.part_number, "ETag": part.e_tag}
                for part in multipart.parts.all()
            ]
            multipart.complete(MultipartUpload={"Parts": parts})
        except multipart.meta.client.exceptions.NoSuchUpload:
            # It was completed, and only the word of it got lost; or somebody has deleted it.
            if not self._storage.exists(path) or self._storage.size(path) != size:
                raise MissingFile(
                    f"The bucket has lost the parts of {path!r}. Upload the file again."
                ) from None

    def abandon(self, path: str, state: dict[str, Any]) -> None:
        if "upload_id" in state:
            multipart = self._object(path).MultipartUpload(state["upload_id"])
            with suppress(multipart.meta.client.exceptions.NoSuchUpload):
                multipart.abort()
        self._storage.delete(path)

    def _object(self, path: str) -> Any:
        # Opened for writing it asks the bucket nothing, until it is closed.
        return self._storage.open(path, "wb").obj
