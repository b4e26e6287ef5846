"""Uploads that go on after a break, by the tus protocol 1.0 (tus.io/protocols/resumable-upload).

Of its extensions: creation, expiration and termination. Bytes go to the storage in pieces of
8 MiB and more, as they come; whoever serves this needs no room for the whole file.
"""

from __future__ import annotations

import base64
import binascii
import errno
import logging
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.http import http_date

from videos.conf import conf
from videos.models import Upload
from videos.pipeline import uploads

logger = logging.getLogger(__name__)

_VERSION = "1.0.0"
_OFFSET_TYPE = "application/offset+octet-stream"


def options() -> HttpResponse:
    """Say what is understood here."""
    response = HttpResponse(status=HTTPStatus.NO_CONTENT)
    response["Tus-Version"] = _VERSION
    response["Tus-Extension"] = "creation,expiration,termination"
    response["Tus-Max-Size"] = str(conf().max_upload_bytes)
    return _resumable(response)


def create(request: HttpRequest, creator: Any, address: Any) -> HttpResponse:
    """Begin an upload by its headers; `address` gives that of an upload."""
    try:
        size = int(request.headers.get("Upload-Length", ""))
        said = _metadata(request.headers.get("Upload-Metadata", ""))
    except ValueError:
        return _refused("Upload-Length or Upload-Metadata cannot be read.", HTTPStatus.BAD_REQUEST)
    try:
        upload = uploads.begin(
            creator,
            said.get("filename", ""),
            size,
            title=said.get("title", "")[:255],
            language=said.get("language", "")[:2],
        )
    except ValidationError as error:
        return _refused(" ".join(error.messages), refusal_status(error))
    response = HttpResponse(status=HTTPStatus.CREATED)
    response["Location"] = request.build_absolute_uri(address(upload))
    return _resumable(response, upload)


def refusal_status(error: ValidationError) -> HTTPStatus:
    """Return the status by which a program is told of what `uploads.begin` has raised."""
    if getattr(error, "code", "") in ("size", "quota"):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return HTTPStatus.BAD_REQUEST


def resume(request: HttpRequest, creator: Any, upload_id: UUID) -> HttpResponse:
    """Tell how much has arrived (HEAD), take more of it (PATCH), or forget it (DELETE)."""
    upload = get_object_or_404(Upload.objects.filter(creator=creator), pk=upload_id)
    if request.method == "DELETE":
        uploads.forget(upload)
        return _resumable(HttpResponse(status=HTTPStatus.NO_CONTENT))
    if request.method == "PATCH":
        return _take(request, upload)
    response = HttpResponse(status=HTTPStatus.OK)
    response["Upload-Length"] = str(upload.size)
    response["Cache-Control"] = "no-store"
    return _resumable(response, upload)


def _take(request: HttpRequest, upload: Upload) -> HttpResponse:
    if request.content_type != _OFFSET_TYPE:
        return _refused(f"Send {_OFFSET_TYPE}.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        offset = int(request.headers.get("Upload-Offset", ""))
    except ValueError:
        return _refused("Upload-Offset is no number.", HTTPStatus.BAD_REQUEST)
    try:
        uploads.receive(upload, offset, request.read)
    except uploads.NotHere:
        upload.refresh_from_db()
        is_elsewhere = upload.offset != offset or upload.completed_at is not None
        status = HTTPStatus.CONFLICT if is_elsewhere else HTTPStatus.LOCKED
        return _resumable(HttpResponse(status=status), upload)
    except uploads.TooSmall as error:
        return _refused(str(error), HTTPStatus.BAD_REQUEST)
    except OSError as error:
        # Also a connection that broke off: nobody hears the answer then.
        logger.warning("The upload %s broke off: %s", upload.pk, error)
        is_full = error.errno == errno.ENOSPC
        status = HTTPStatus.INSUFFICIENT_STORAGE if is_full else HTTPStatus.BAD_REQUEST
        return _refused("The upload broke off. It can go on.", status)
    return _resumable(HttpResponse(status=HTTPStatus.NO_CONTENT), upload)


def begun(upload: Upload, address: str) -> JsonResponse:
    """Answer to a form by which an upload was begun."""
    document = {"id": str(upload.pk), "url": address, "offset": upload.offset, "size": upload.size}
    return JsonResponse(document, status=HTTPStatus.CREATED)


def _metadata(header: str) -> dict[str, str]:
    """Read `key base64,key base64`.

    Raises:
        ValueError: if it cannot be read.
    """
    said = {}
    for pair in filter(None, header.split(",")):
        key, _, encoded = pair.strip().partition(" ")
        try:
            said[key] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(key) from error
    return said


def _refused(message: str, status: HTTPStatus) -> HttpResponse:
    return _resumable(HttpResponse(message, content_type="text/plain", status=status))


def _resumable(response: HttpResponse, upload: Upload | None = None) -> HttpResponse:
    response["Tus-Resumable"] = _VERSION
    if upload is not None:
        response["Upload-Offset"] = str(upload.offset)
        if upload.completed_at is None:
            response["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    return response
