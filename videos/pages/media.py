"""A video's file for the browser: from this machine's disk, or from its bucket."""

from __future__ import annotations

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from videos.models import Video
from videos.pipeline.storage import local_path
from videos.playback import stream


def play(request: HttpRequest, video: Video) -> HttpResponseBase:
    """Answer with the file, in ranges, or send the browser to an address signed for an hour.

    Whoever calls it has asked whether the user may see the video.

    Raises:
        Http404: if the file was deleted.
    """
    path = local_path(video)
    if path is None:
        return redirect(video.file.url)
    try:
        return stream(request, path, video.original_filename)
    except FileNotFoundError:
        raise Http404("The file of this video was deleted.") from None
