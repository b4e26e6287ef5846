"""Who may see what: one policy for all pages that are made for creators.

Operators see all videos: the admin asks for Django's permissions, commands for a shell.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.module_loading import import_string

from videos.conf import conf
from videos.models import Video


def visible_videos(user: Any) -> QuerySet[Video]:
    """Return the videos that a user may see, by the policy of CHRONOS_VISIBLE_VIDEOS."""
    policy = import_string(conf().visible_videos)
    videos: QuerySet[Video] = policy(user)
    return videos


def own_videos(user: Any) -> QuerySet[Video]:
    """Let creators see their own videos, and nobody else's. The default policy."""
    if not user.is_authenticated:
        return Video.objects.none()
    return Video.objects.filter(creator=user)
