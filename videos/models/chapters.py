"""Chapters of a video, of one revision of what was said."""

from __future__ import annotations

from django.db import models

from videos.durable.fields import StoredCharField


class Chapter(models.Model):
    """Where a part of a video begins, and what it is about."""

    # `chapter_start` begins with it.
    revision = models.ForeignKey(
        "videos.Revision", on_delete=models.CASCADE, related_name="chapters", db_index=False
    )
    #: Seconds on the video's clock.
    start = models.FloatField()
    title = StoredCharField(max_length=80)

    class Meta:
        ordering = ["start"]
        constraints = [models.UniqueConstraint(fields=["revision", "start"], name="chapter_start")]

    def __str__(self) -> str:
        return self.title
