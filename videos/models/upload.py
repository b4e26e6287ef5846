"""Files on their way in: how much of each has arrived, until it is a video."""

from __future__ import annotations

from pathlib import PurePosixPath

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now
from uuid6 import uuid7

from videos.durable.fields import StoredCharField
from videos.models.video import Video, captions_path, source_path


class Upload(models.Model):
    """A file that arrives in pieces; its id becomes that of its video.

    The row stays for a while after the end, so that a client that did not hear of it can ask.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads"
    )
    #: The video whose file this one takes the place of; none: a new video.
    replaces = models.ForeignKey(
        Video, null=True, blank=True, on_delete=models.CASCADE, related_name="replacements"
    )
    original_filename = StoredCharField(max_length=255)
    title = StoredCharField(max_length=255, blank=True)
    language = models.CharField(max_length=16, blank=True)
    captions = models.FileField(upload_to=captions_path, max_length=500, blank=True)
    #: Name in the storage.
    path = models.CharField(max_length=500)
    #: Bytes, of the whole and of what has arrived.
    size = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField(default=0, db_default=0)
    #: What the storage needs to go on: of S3, {"upload_id", "piece_bytes"}.
    storage_state = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    #: Who is writing now, and until when nobody else may: renewed with every piece.
    writer = models.UUIDField(null=True, blank=True)
    writing_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    #: When it is forgotten, unless another piece arrives.
    expires_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(size__gt=0), name="upload_not_empty"),
            models.CheckConstraint(condition=Q(offset__lte=F("size")), name="upload_within_size"),
        ]
        indexes = [models.Index(fields=["expires_at"], name="upload_expiry")]

    def __str__(self) -> str:
        return f"{self.original_filename}, {self.offset} of {self.size} bytes"

    def save(self, *args: object, **kwargs: object) -> None:
        """Choose where the storage keeps the file, then save."""
        if not self.path:
            name = f"source-{self.pk}" if self.replaces else "source"
            self.path = source_path(self, self.original_filename, name)
        super().save(*args, **kwargs)  # type: ignore[arg-type]

    @property
    def folder(self) -> str:
        """Where the storage keeps the file: in the folder of the video that it becomes."""
        video = self.replaces
        return video.folder if video else f"videos/{self.creator_id}/{self.pk}"

    @property
    def video_id(self) -> object:
        """The video that has the file once all of it has arrived."""
        return self.replaces_id or self.pk

    @property
    def has_arrived(self) -> bool:
        """Whether every byte is there."""
        return self.offset == self.size

    @property
    def shown_title(self) -> str:
        """The title, or the file's name without its extension."""
        return self.title or PurePosixPath(self.original_filename).stem or self.original_filename
