"""Who sees, changes and uploads videos: the three settings CHRONOS_…_POLICY name these."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from courses.models import Course, Lesson
from videos.models import Video


def visible_videos(user: Any) -> QuerySet[Video]:
    """Let teachers see their videos, and students the lessons of courses they are enrolled in."""
    if not user.is_authenticated:
        return Video.objects.none()
    taken = Lesson.objects.filter(course__students=user).values("video")
    return Video.objects.filter(Q(creator=user) | Q(pk__in=taken))


def editable_videos(user: Any) -> QuerySet[Video]:
    """Let teachers change what they have uploaded."""
    return Video.objects.filter(creator=user) if user.is_authenticated else Video.objects.none()


def may_upload(user: Any) -> bool:
    """Let those upload who teach a course."""
    return user.is_authenticated and Course.objects.filter(teacher=user).exists()
