"""Files on this machine's disk for the browser: in ranges, so that it can seek."""

from __future__ import annotations

import mimetypes
from http import HTTPStatus
from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.responders import StaticFile

_DOWNLOAD = "application/octet-stream"


def stream(request: HttpRequest, path: Path, name: str) -> HttpResponseBase:
    """Answer with a file, or with the range of its bytes that the browser asks for.

    `name` tells its type. What is neither sound nor video is downloaded: an upload may be a page
    with a script.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    kind = mimetypes.guess_type(name)[0] or _DOWNLOAD
    is_media = kind.startswith(("video/", "audio/"))
    headers = [
        ("Content-Type", kind if is_media else _DOWNLOAD),
        ("X-Content-Type-Options", "nosniff"),
        ("Accept-Ranges", "bytes"),
    ]
    if not path.is_file():
        raise FileNotFoundError(path)
    served = StaticFile(str(path), headers)
    answer = served.get_response(request.method, request.META)
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        start, _ = served.parse_byte_range(request.META["HTTP_RANGE"])
        if start < path.stat().st_size:
            # whitenoise refuses ranges of one byte; a range may be ignored (RFC 9110, 14.2).
            asked = {**request.META, "HTTP_RANGE": ""}
            answer = served.get_response(request.method, asked)
    response: HttpResponseBase
    if answer.file is None:
        response = HttpResponse(status=int(answer.status))
    else:
        response = FileResponse(
            answer.file, status=int(answer.status), as_attachment=not is_media, filename=name
        )
    for header, value in answer.headers:
        response[header] = value
    return response
