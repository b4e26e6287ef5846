"""A video's files for the browser: from this machine's disk, or from its bucket."""

from __future__ import annotations

from django.http import FileResponse, Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from videos.models import Video
from videos.pipeline import storage
from videos.playback import stream

_PICTURE_KEPT_S = 86_400


def play(request: HttpRequest, video: Video) -> HttpResponseBase:
    """Answer with the file, in ranges, or send the browser to an address signed for an hour.

    What browsers cannot play is answered by the copy that they can, once there is one, unless
    `?original` is asked for. Whoever calls it has asked whether the user may see the video.

    Raises:
        Http404: if the file was deleted.
    """
    is_copy = bool(video.proxy) and "original" not in request.GET
    file = video.proxy if is_copy else video.file
    path = storage.local_path(file)
    if path is None:
        return redirect(file.url)
    try:
        return stream(request, path, file.name or "" if is_copy else video.original_filename)
    except FileNotFoundError:
        raise Http404("The file of this video was deleted.") from None


def picture(request: HttpRequest, video: Video) -> HttpResponseBase:
    """Answer with the thumbnail, which the browser may keep for a day.

    Whoever calls it has asked whether the user may see the video.

    Raises:
        Http404: if there is none.
    """
    if not video.thumbnail:
        raise Http404("This video has no picture.")
    path = storage.local_path(video.thumbnail)
    if path is None:
        return redirect(video.thumbnail.url)
    try:
        response = FileResponse(path.open("rb"), content_type="image/jpeg")
    except FileNotFoundError:
        raise Http404("The picture of this video was deleted.") from None
    response["Cache-Control"] = f"private, max-age={_PICTURE_KEPT_S}"
    response["X-Content-Type-Options"] = "nosniff"
    return response
