"""Who may see, change and upload what: one policy each for all that is made for creators.

Operators need Django's permissions in the admin, where a policy can hold them to some creators,
and a shell for commands, which see all.
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


def editable_videos(user: Any) -> QuerySet[Video]:
    """Return the videos that a user may change, by the policy of CHRONOS_EDIT_POLICY."""
    policy = import_string(conf().edit_policy)
    videos: QuerySet[Video] = policy(user)
    return videos


def may_upload(user: Any) -> bool:
    """Whether a user may upload videos, by the policy of CHRONOS_UPLOAD_POLICY."""
    return bool(import_string(conf().upload_policy)(user))


def operated_creators(user: Any) -> QuerySet[Any] | None:
    """Return the creators whose work an operator sees in the admin, by CHRONOS_OPERATOR_POLICY.

    None means the whole site, with the work that is nobody's, its workers and services.
    """
    policy = import_string(conf().operator_policy)
    creators: QuerySet[Any] | None = policy(user)
    return creators


def whole_site(user: Any) -> None:
    """Let operators see every creator's work. The default policy."""


def signed_in(user: Any) -> bool:
    """Let everybody upload who has an account. The default policy."""
    return bool(user.is_authenticated)


def own_videos(user: Any) -> QuerySet[Video]:
    """Let creators see their own videos, and nobody else's. The default policy."""
    if not user.is_authenticated:
        return Video.objects.none()
    return Video.objects.filter(creator=user)
