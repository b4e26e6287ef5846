"""The video: what a creator uploaded, and how far its processing is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar, Protocol

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from uuid6 import uuid7

from videos.durable.fields import StoredCharField, StoredTextField
from videos.durable.models import MAX_ERROR_CHARACTERS, Run
from videos.text import caption_reader, caption_writer, encodings
from videos.text.captions import BadCaptions

_TITLE_MAX_LENGTH = 255
MAX_CAPTION_BYTES = 10 * 1024**2


class HasFolder(Protocol):
    """Something whose files the storage keeps in a folder of their own."""

    @property
    def folder(self) -> str:
        """The folder's name, without an end."""


def source_path(owner: HasFolder, filename: str, name: str = "source") -> str:
    """Name the storage object by ids alone; of the hostile file name only a plain ending stays."""
    ending = PurePosixPath(filename).suffix.lower()
    if not re.fullmatch(r"\.[a-z0-9]{1,5}", ending):
        ending = ""
    return f"{owner.folder}/{name}{ending}"


def plain_name(filename: str) -> str:
    """Return a file name fit to be shown: its last part, no control characters, 255 at most."""
    last = re.split(r"[/\\]", filename)[-1]
    shown = "".join(char if char.isprintable() else " " for char in last)
    return shown.strip()[:_TITLE_MAX_LENGTH]


def check_captions(file: File[bytes]) -> None:
    """Refuse a file of captions that cannot be read.

    Raises:
        ValidationError: saying what is wrong, and in which line.
    """
    if file.size > MAX_CAPTION_BYTES:
        raise ValidationError(f"The captions are larger than {MAX_CAPTION_BYTES // 1024**2} MiB.")
    file.seek(0)
    try:
        text, _ = encodings.decode(file.read())
        caption_reader.read(text)
    except BadCaptions as error:
        raise ValidationError(f"The captions cannot be used. {error}") from None
    finally:
        file.seek(0)


def captions_path(owner: HasFolder, filename: str) -> str:
    """Name the storage object of a person's captions by ids alone."""
    return f"{owner.folder}/captions"


def thumbnail_path(owner: HasFolder, filename: str) -> str:
    """Name the storage object of a video's thumbnail by ids alone."""
    return f"{owner.folder}/thumbnail.jpg"


def proxy_path(owner: HasFolder, filename: str) -> str:
    """Name the storage object of the copy that browsers play by ids alone."""
    return f"{owner.folder}/{PurePosixPath(filename).name}"


class Steering(Protocol):
    """What the pipeline does when a video is asked for it."""

    def reprocess(
        self, video: Video, from_stage: str | None, *, force: bool = False, key: str | None = None
    ) -> Run:
        """Process a video again, or resume it."""

    def cancel(self, video: Video) -> bool:
        """Stop processing a video."""

    def moments(self, query: str, videos: models.QuerySet[Video], limit: int) -> Sequence[Any]:
        """Find the moments in which something was said."""


#: What a person may change of a video; everything else is written by `statuses`.
_EDITABLE = (
    *("creator", "title", "file", "original_filename", "language", "captions", "size_bytes"),
)


class Video(models.Model):
    """A creator's media file. `statuses` alone writes the fields from `status` on."""

    class Status(models.TextChoices):
        """Where the video is on its way to being searchable."""

        PENDING = "pending", _("Pending")
        TRANSCRIBING = "transcribing", _("Transcribing")
        CHUNKING = "chunking", _("Chunking")
        EMBEDDING = "embedding", _("Embedding")
        COMPLETED = "completed", _("Completed")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="videos"
    )
    title = StoredCharField(max_length=_TITLE_MAX_LENGTH, blank=True)
    file = models.FileField(upload_to=source_path, max_length=500)
    original_filename = StoredCharField(max_length=_TITLE_MAX_LENGTH, blank=True)
    language = models.CharField(
        max_length=16,
        blank=True,
        validators=[RegexValidator(r"^[a-z]{2}$", "Two letters of ISO 639-1, such as en.")],
        help_text="ISO 639-1, such as en; empty: detected.",
    )

    captions = models.FileField(
        upload_to=captions_path,
        max_length=500,
        blank=True,
        validators=[check_captions],
        help_text="SubRip (.srt) or WebVTT (.vtt), taken in place of speech recognition.",
    )

    #: Of the file; null where nobody has asked the storage.
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True, editable=False)
    #: A frame of the pictures, as JPEG; empty until it is made, and where there are none.
    thumbnail = models.FileField(
        upload_to=thumbnail_path, max_length=500, blank=True, editable=False, db_default=""
    )

    #: A copy that browsers play, of a file that they do not; empty until somebody asks for it.
    proxy = models.FileField(
        upload_to=proxy_path, max_length=500, blank=True, editable=False, db_default=""
    )

    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    stage = models.CharField(max_length=16, blank=True)
    progress = models.FloatField(default=0.0)
    duration_s = models.FloatField(null=True, blank=True)
    detected_language = models.CharField(max_length=16, blank=True)
    coverage = models.FloatField(null=True, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    error = StoredTextField(blank=True, most=MAX_ERROR_CHARACTERS)
    error_code = models.CharField(max_length=32, blank=True)
    revision = models.ForeignKey(
        "videos.Revision",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    completed_at = models.DateTimeField(null=True, blank=True)

    #: Set by `pipeline.steering`, which knows the stages.
    _steering: ClassVar[Steering]

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["creator", "-created_at"]),
            models.Index(fields=["status", "-created_at"]),
            models.Index(fields=["-created_at", "-id"], name="video_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(progress__gte=0, progress__lte=1),
                name="video_progress_0_1",
            )
        ]

    def __str__(self) -> str:
        return self.title or str(self.pk)

    def save(self, *args: object, **kwargs: object) -> None:
        """Keep the file's own name and take the title from it, then save.

        Later saves write what people may change, and not what the pipeline has written since the
        video was loaded.
        """
        if self._state.adding and self.file:
            if not self.original_filename:
                self.original_filename = plain_name(self.file.name or "")
            if not self.title:
                # A name that is all ending, such as ".mp4", is its own title.
                self.title = PurePosixPath(self.original_filename).stem or self.original_filename
            if self.size_bytes is None and not self.file._committed:  # type: ignore[attr-defined]
                self.size_bytes = self.file.size
        elif not self._state.adding and kwargs.get("update_fields") is None:
            kwargs["update_fields"] = _EDITABLE
        with transaction.atomic():
            # With the event that a receiver writes: neither is there without the other.
            super().save(*args, **kwargs)  # type: ignore[arg-type]

    @property
    def folder(self) -> str:
        """Where the storage keeps the video's file and audio.

        It is named after the first creator, and stays when the video gets another.
        """
        stored = PurePosixPath(self.file.name or "").parent
        return str(stored) if stored.name == str(self.pk) else self._creators_folder

    @property
    def folders(self) -> set[str]:
        """Every folder in which the storage may keep something of the video."""
        return {self.folder, self._creators_folder}

    @property
    def _creators_folder(self) -> str:
        return f"videos/{self.creator_id}/{self.pk}"

    @property
    def segments(self) -> models.QuerySet[Any]:
        """The timed lines of the transcript in force, in their order; none before there is one."""
        segments = apps.get_model("videos", "Segment").objects
        if self.revision is None or self.revision.transcript_id is None:
            return segments.none()
        return segments.filter(transcript=self.revision.transcript_id).order_by("index")

    def as_vtt(self) -> str:
        """Return the transcript in force as WebVTT captions."""
        return caption_writer.as_vtt(self.segments)

    def as_srt(self) -> str:
        """Return the transcript in force as SubRip captions."""
        return caption_writer.as_srt(self.segments)

    def as_text(self) -> str:
        """Return the transcript in force as plain text, with who speaks."""
        return caption_writer.as_txt(self.segments)

    @classmethod
    def moments(
        cls, query: str, videos: models.QuerySet[Video] | None = None, limit: int = 10
    ) -> Sequence[Any]:
        """Find what was said in videos, the best first: `videos.search.Hit`s, of seconds.

        `videos` are all where none are given: pass `visible_videos(user)` for what a user may see.
        """
        return cls._steering.moments(query, cls.objects.all() if videos is None else videos, limit)

    def reprocess(
        self, from_stage: str | None = None, *, force: bool = False, key: str | None = None
    ) -> Run:
        """Process again from `from_stage` ("transcribe", "chunk" or "embed").

        Without it a failed or cancelled video resumes at its first unfinished step. What is asked
        for twice with the same `key` is done once.

        Raises:
            ValueError: for an unknown stage, or a video that has nothing to resume.
        """
        return self._steering.reprocess(self, from_stage, force=force, key=key)

    def cancel(self) -> bool:
        """Stop processing at the next step; return whether there was anything to stop."""
        return self._steering.cancel(self)


class StorageDeletion(models.Model):
    """A file, or a folder by its "/", that the storage is to delete; gone once it has."""

    path = models.CharField(max_length=500)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    error = StoredTextField(blank=True, most=MAX_ERROR_CHARACTERS)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["next_attempt_at"], name="deletion_due")]

    def __str__(self) -> str:
        return self.path
