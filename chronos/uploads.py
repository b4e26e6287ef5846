"""How much of a request may lie on this machine's disk, and whose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest
from django.urls import Resolver404, resolve

from videos.access import editable_videos, may_upload

#: Beside the file: the form's other fields, and what parts them.
_SPARE_BYTES = 1024**2


def _takes(permission: str) -> Callable[[Any], bool]:
    return lambda user: user.has_perm(permission)


#: The pages that take videos, and who may send one there.
_UPLOAD_PAGES: dict[str, Callable[[Any], bool]] = {
    "admin:videos_video_add": _takes("videos.add_video"),
    "admin:videos_video_change": _takes("videos.change_video"),
    "videos:upload": lambda user: user.is_authenticated and may_upload(user),
    "videos:manage": lambda user: editable_videos(user).exists(),
    # It takes captions alone; what else it is sent is refused once it is read.
    "videos:begin": lambda user: user.is_authenticated and may_upload(user),
}


class PermittedUploadHandler(TemporaryFileUploadHandler):
    """Streams files to disk on the pages that take videos, for who may upload there.

    Anybody else's body ends at Django's DATA_UPLOAD_MAX_MEMORY_SIZE, before its first byte is
    read: forms are parsed for their token before a view could ask who sent them.
    """

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        """Refuse a body that is larger than its sender may send here.

        Raises:
            RequestDataTooBig: which Django answers with a 400.
        """
        assert self.request is not None
        limit = max_body_bytes(self.request)
        if content_length > limit:
            raise RequestDataTooBig(f"The request has {content_length} bytes, {limit} at most.")


def max_body_bytes(request: HttpRequest) -> int:
    """Return how many bytes the sender of a request may send to its page."""
    given: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    small = sys.maxsize if given is None else given
    try:
        wanted = _UPLOAD_PAGES.get(resolve(request.path_info).view_name)
    except Resolver404:
        return small
    if wanted is None or not wanted(request.user):
        return small
    large: int = settings.CHRONOS_MAX_UPLOAD_BYTES
    return large + _SPARE_BYTES
