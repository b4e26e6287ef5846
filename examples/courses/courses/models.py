"""Courses, who is enrolled in them, and their lessons."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from videos.models import Video


class Course(models.Model):
    """What a teacher teaches, and to whom."""

    title = models.CharField(max_length=200)
    teacher = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="courses_taught"
    )
    students = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="courses_taken"
    )

    def __str__(self) -> str:
        return self.title


class Lesson(models.Model):
    """A video in a course."""

    course = models.ForeignKey(Course, on_delete=models.CASCADE, related_name="lessons")
    video = models.OneToOneField(Video, on_delete=models.CASCADE, related_name="lesson")
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return str(self.video)
