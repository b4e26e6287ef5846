"""A video's file and its stored audio, between Django's storage and a worker's disk."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from uuid import UUID

from django.core.files import File
from django.core.files.storage import Storage
from django.db.models.fields.files import FieldFile

from videos.conf import GIB, conf
from videos.durable.claims import Claim
from videos.exceptions import (
    ChronosError,
    DiskFull,
    MissingFile,
    ServiceUnavailable,
    Signal,
    TooLarge,
    UnreadableMedia,
)
from videos.models import ACTIVE_STATES, Transcript, Video

_BLOCK_BYTES = 1024 * 1024
#: Room to leave on the worker's disk beside the file: parts and the whole audio.
_SPARE_BYTES = GIB // 2
_LOW_BYTES = GIB // 16
#: The whole audio, and as much again in parts that are not transcribed yet: at worst as PCM.
_AUDIO_BYTES_PER_S = 2 * 2 * 16_000
_AUDIO_NAME = re.compile(r"/audio-(?P<run>[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})-(?P<token>\d+)")


def fetch(video: Video, folder: Path, claim: Claim) -> tuple[Path, str]:
    """Return a local path of the video's file, and the sha256 of its bytes.

    A file that is on this machine is read where it is; any other is streamed into `folder`.

    Raises:
        MissingFile, TooLarge, UnreadableMedia: if there is nothing to work on.
        DiskFull: if the worker's disk has no room for it.
        ServiceUnavailable: if the storage failed on the way.
    """
    with _storage_errors(video):
        storage, name = video.file.storage, video.file.name
        if not name or not storage.exists(name):
            raise MissingFile(
                f"The storage has no file {name!r}. It was deleted or never arrived: upload the "
                "video again."
            )
        local = _local_path(storage, name)
        _check_size(storage.size(name), folder, copied=local is None)
        if local is not None:
            return local, _copy(storage, name, None, claim)
        target = folder / "source"
        return target, _copy(storage, name, target, claim)


def has_file(video: Video) -> bool:
    """Whether the video's file is still in its storage."""
    with _storage_errors(video):
        return bool(video.file) and video.file.storage.exists(video.file.name or "")


def check_room(folder: Path, duration_ms: int | None) -> None:
    """Check that the worker's disk has room for the audio of media that lasts so long.

    Raises:
        DiskFull: if not.
    """
    longest_s = (duration_ms or 0) / 1000
    if shutil.disk_usage(folder).free < longest_s * _AUDIO_BYTES_PER_S + _LOW_BYTES:
        raise disk_full()


def read_whole(video: Video, name: str, max_bytes: int) -> bytes:
    """Return the content of a small object beside the video."""
    with _storage_errors(video), video.file.storage.open(name) as content:
        return bytes(content.read(max_bytes))


def fetch_audio(transcript: Transcript, folder: Path, claim: Claim) -> Path:
    """Return a local path of the audio that was stored when the video was decoded."""
    video = claim.run.video
    assert video is not None
    with _storage_errors(video):
        storage = video.file.storage
        local = _local_path(storage, transcript.audio)
        if local is not None:
            return local
        target = folder / "audio.flac"
        _copy(storage, transcript.audio, target, claim)
        return target


def has_audio(video: Video, transcript: Transcript) -> bool:
    """Whether a transcript's audio is in the video's storage, and nobody has deleted it there."""
    with _storage_errors(video):
        return bool(transcript.audio) and video.file.storage.exists(transcript.audio)


@contextmanager
def stored_audio(video: Video, claim: Claim, path: Path) -> Iterator[str]:
    """Store the whole audio beside the video, and yield its name, of this claim's own.

    It is deleted again if the run ends before the name is recorded.
    """
    delete_orphans(claim, video)
    name = f"{video.folder}/audio-{claim.run.pk}-{claim.token}.flac"
    with _storage_errors(video), path.open("rb") as audio:
        name = video.file.storage.save(name, File(audio))
    try:
        yield name
    except Signal:
        video.file.storage.delete(name)
        raise


def delete_orphans(claim: Claim, video: Video, *, recorded: str = "") -> None:
    """Delete audio that a worker stored, in part or whole, and could not record before it died.

    What another run of the video is just about to record stays. `recorded` is a name of which it is
    known that it is recorded.
    """
    with _storage_errors(video):
        storage = video.file.storage
        try:
            _, names = storage.listdir(video.folder)
        except (FileNotFoundError, NotImplementedError):
            return
        found = (_AUDIO_NAME.search(f"{video.folder}/{name}") for name in names)
        audio = {each.string: each for each in found if each and each.string != recorded}
        if not audio:
            return
        for name in video.transcripts.values_list("audio", flat=True):
            audio.pop(name, None)
        if not audio:
            return
        others = set(video.runs.filter(state__in=ACTIVE_STATES).values_list("pk", flat=True))
        for name, stored in audio.items():
            run_id, token = UUID(stored["run"]), int(stored["token"])
            is_past = token <= claim.token if run_id == claim.run.pk else run_id not in others
            if is_past:
                storage.delete(name)


def disk_full() -> DiskFull:
    """Return the error of a worker whose disk has no room."""
    return DiskFull(
        "The worker's disk is full; trying again in a minute.",
        retry_after_s=conf().disk_wait_s,
    )


def is_disk_low(folder: Path) -> bool:
    """Whether what failed to be written may have failed for want of room."""
    return shutil.disk_usage(folder).free < _LOW_BYTES


def _check_size(size: int, folder: Path, *, copied: bool) -> None:
    if size == 0:
        raise UnreadableMedia("The file is empty (0 bytes). Upload the original file again.")
    limit = conf().max_upload_bytes
    if size > limit:
        raise TooLarge(
            f"The file is {size / GIB:.1f} GiB; the limit is {limit / GIB:.1f} GiB. Upload a "
            "smaller export, or ask the operator to raise CHRONOS_MAX_UPLOAD_BYTES."
        )
    if shutil.disk_usage(folder).free < (size if copied else 0) + _SPARE_BYTES:
        raise disk_full()


def local_path(file: FieldFile) -> Path | None:
    """Return where a file of a video lies, if that is a disk of this machine."""
    return _local_path(file.storage, file.name or "")


def _local_path(storage: Storage, name: str) -> Path | None:
    try:
        return Path(storage.path(name))
    except NotImplementedError:
        return None


def _copy(storage: Storage, name: str, target: Path | None, claim: Claim) -> str:
    """Stream an object to a local file, or nowhere; return the sha256 of its bytes."""
    digest = hashlib.sha256()
    with nullcontext() if target is None else target.open("wb") as copy:
        for block in _blocks(storage, name):
            claim.check()
            digest.update(block)
            if copy is not None:
                copy.write(block)
    return digest.hexdigest()


def _blocks(storage: Storage, name: str) -> Iterator[bytes]:
    """Yield an object's bytes as they arrive.

    django-storages' S3 file would fetch all of it into a temporary file first.
    """
    with storage.open(name) as content:
        s3_object = getattr(content, "obj", None)
        if s3_object is not None:
            with closing(s3_object.get()["Body"]) as body:
                yield from body.iter_chunks(_BLOCK_BYTES)
            return
        yield from content.chunks(_BLOCK_BYTES)


@contextmanager
def _storage_errors(video: Video) -> Iterator[None]:
    """Tell a missing file, a full disk and a failing storage apart."""
    try:
        yield
    except ChronosError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(
            f"The storage has no file {error.filename or video.file.name!r}. Upload it again."
        ) from error
    except Exception as error:  # What a storage raises is its own library's.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise disk_full() from error
        raise ServiceUnavailable(f"The storage failed while reading the file: {error}.") from error
