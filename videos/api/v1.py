"""The operations of `/api/v1/`. Each sees what the access policies let its key's creator see."""

import base64
import binascii
from datetime import date
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Query
from ninja.errors import AuthenticationError, HttpError
from ninja.errors import ValidationError as InvalidRequest

from videos.access import editable_videos, may_upload, visible_videos
from videos.api import pauses, schemas
from videos.api.keys import idempotent, reads, writes
from videos.api.problems import Problem, not_found, wrong
from videos.documents import (
    FORMATS,
    chunk_documents,
    hit_document,
    serving_segments,
    video_document,
    with_runs,
)
from videos.exceptions import ChronosError
from videos.models import Segment, Video, Webhook
from videos.models import Upload as UploadRow
from videos.pages import tus
from videos.pipeline import corrections, steering, uploads, webhooks
from videos.pipeline.corrections import Conflict, Seen
from videos.search import search as find_moments
from videos.text.correcting import CannotChange
from videos.text.storable import storable
from videos.usage import summary

_MAX_PAGE = 100
_MAX_QUERY = 300

api = NinjaAPI(
    title="Chronos",
    version="1",
    description="Videos that can be searched to the second.",
    urls_namespace="videos_api",
    auth=reads,
    docs_url=None,
    openapi_url=None,
)


api.add_router("/pauses", pauses.router)


@api.exception_handler(Problem)
def _problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    return problem.response


def _field(where: str, name: object, *inside: object) -> str:
    """Return what is wrong as the request names it: of a body, not by our parameter's name."""
    return ".".join(map(str, (where, *inside) if where == "body" else (where, name, *inside)))


@api.exception_handler(InvalidRequest)
def _invalid(request: HttpRequest, error: InvalidRequest) -> HttpResponse:
    said = [{"field": _field(*each["loc"]), "message": each["msg"]} for each in error.errors]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The request cannot be read.", errors=said
    ).response


@api.exception_handler(HttpError)
def _refused(request: HttpRequest, error: HttpError) -> HttpResponse:
    return Problem(HTTPStatus(error.status_code), str(error)).response


@api.exception_handler(ChronosError)
def _unavailable(request: HttpRequest, error: ChronosError) -> HttpResponse:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After="10").response


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "Send a key as `Authorization: Bearer chr_…`.",
        WWW_Authenticate="Bearer",
    ).response


# --- Videos -----------------------------------------------------------------------------


@api.get("/videos", response=schemas.Videos, tags=["videos"])
def list_videos(
    request: HttpRequest,
    status: Video.Status | None = None,
    q: str = Query("", description="Part of the title."),  # type: ignore[type-arg]
    cursor: str = "",
    limit: int = Query(50, ge=1, le=_MAX_PAGE),  # type: ignore[type-arg]
) -> Any:
    """List the videos that one may see, the newest first."""
    videos = with_runs(visible_videos(request.user)).order_by("-pk")
    if status:
        videos = videos.filter(status=status)
    if q:
        videos = videos.filter(title__icontains=storable(q))
    if cursor:
        videos = videos.filter(pk__lt=_after(cursor))
    rows = list(videos[: limit + 1])
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "videos": [video_document(video) for video in rows[:limit]],
        "next_cursor": _cursor(last.pk) if last else None,
    }


@api.get("/videos/{uuid:video_id}", response=schemas.Video, tags=["videos"])
def get_video(request: HttpRequest, video_id: UUID) -> Any:
    """Tell how far a video is."""
    return video_document(_one(with_runs(visible_videos(request.user)), video_id))


@api.patch("/videos/{uuid:video_id}", response=schemas.Video, auth=writes, tags=["videos"])
def change_video(request: HttpRequest, video_id: UUID, change: schemas.VideoChange) -> Any:
    """Rename a video."""
    video = _one(with_runs(editable_videos(request.user)), video_id)
    video.title = storable(change.title)
    video.save()
    return video_document(video)


@api.delete("/videos/{uuid:video_id}", response={204: None}, auth=writes, tags=["videos"])
def delete_video(request: HttpRequest, video_id: UUID) -> Any:
    """Delete a video with all that was made of it."""
    _one(editable_videos(request.user), video_id).delete()
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


@api.post(
    "/videos/{uuid:video_id}/reprocess", response={202: schemas.Video}, auth=writes, tags=["videos"]
)
@idempotent
def reprocess_video(request: HttpRequest, video_id: UUID, wanted: schemas.Reprocess) -> Any:
    """Process a video again from a stage, or have it go on where it failed."""
    known = steering.restartable_stages()
    if wanted.from_stage not in (None, *known):
        there_are = f"There are {', '.join(known)}."
        raise wrong("from", there_are, "There is no such stage to begin with.")
    video = _one(editable_videos(request.user), video_id)
    try:
        video.reprocess(wanted.from_stage)
    except ValueError as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    return _accepted(request, video)


@api.post(
    "/videos/{uuid:video_id}/cancel", response={202: schemas.Video}, auth=writes, tags=["videos"]
)
@idempotent
def cancel_video(request: HttpRequest, video_id: UUID) -> Any:
    """Stop processing a video."""
    video = _one(editable_videos(request.user), video_id)
    video.cancel()
    return _accepted(request, video)


def _accepted(request: HttpRequest, video: Video) -> HttpResponse:
    fresh = with_runs(Video.objects.all()).get(pk=video.pk)
    return api.create_response(request, video_document(fresh), status=HTTPStatus.ACCEPTED)


# --- What was said ----------------------------------------------------------------------


@api.get("/videos/{uuid:video_id}/transcript", response=schemas.Transcript, tags=["transcripts"])
def get_transcript(request: HttpRequest, video_id: UUID) -> Any:
    """Return the transcript in force, line by line."""
    video = _one(visible_videos(request.user), video_id)
    return {
        "video_id": video.pk,
        "language": video.detected_language or video.language or None,
        "lines": list(serving_segments(video)),
    }


@api.get("/videos/{uuid:video_id}/captions.{kind}", tags=["transcripts"], response={200: str})
def get_captions(
    request: HttpRequest, video_id: UUID, kind: Literal["vtt", "srt", "txt"]
) -> HttpResponse:
    """Return the transcript as WebVTT, SubRip or text."""
    video = _one(visible_videos(request.user), video_id)
    if video.revision_id is None:
        raise Problem(HTTPStatus.NOT_FOUND, "This video has no transcript yet.")
    types = {"vtt": "text/vtt", "srt": "application/x-subrip", "txt": "text/plain"}
    body = FORMATS[kind](serving_segments(video))
    return HttpResponse(body, content_type=f"{types[kind]}; charset=utf-8")


@api.patch(
    "/videos/{uuid:video_id}/lines/{int:line_id}",
    response=list[schemas.Line],
    auth=writes,
    tags=["transcripts"],
)
def correct_line(
    request: HttpRequest, video_id: UUID, line_id: int, change: schemas.LineChange
) -> Any:
    """Correct a line. A version that is not the present one is refused with 409."""
    video = _one(editable_videos(request.user), video_id)
    seen, written = Seen(line_id, change.version), []
    try:
        with transaction.atomic():
            if change.text is not None:
                written = corrections.rewrite(video, request.user, seen, change.text)
                seen = Seen(line_id, written[0].version)
            if change.speaker is not None:
                written = corrections.give_speaker(video, request.user, seen, change.speaker)
    except Conflict as conflict:
        raise Problem(
            HTTPStatus.CONFLICT,
            str(conflict),
            errors={"line": _line(conflict.line)} if conflict.line else None,
        ) from None
    except CannotChange as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return written


def _line(segment: Segment) -> dict[str, Any]:
    return {"id": segment.pk, "version": segment.version, "text": segment.text}


@api.get("/videos/{uuid:video_id}/chunks", response=list[schemas.Chunk], tags=["transcripts"])
def get_chunks(request: HttpRequest, video_id: UUID) -> Any:
    """Return the chunks in force, each with the model of its vector."""
    return chunk_documents(_one(visible_videos(request.user), video_id))


@api.get("/search", response=schemas.Found, tags=["search"])
def search(
    request: HttpRequest,
    q: str = Query(..., min_length=1, max_length=_MAX_QUERY),  # type: ignore[type-arg]
    video: UUID | None = None,
    limit: int = Query(10, ge=1, le=_MAX_PAGE),  # type: ignore[type-arg]
    mode: Literal["hybrid", "vector", "text"] = "hybrid",
    language: str = "",
    speaker: str = "",
) -> Any:
    """Find the moments in which something was said, in all that one may see."""
    videos = visible_videos(request.user)
    if video is not None:
        videos = videos.filter(pk=_one(videos, video).pk)
    if language:
        videos = videos.filter(detected_language=storable(language))
    hits = find_moments(q, videos, limit=limit, mode=mode, speaker=storable(speaker))
    return {"query": q, "results": [hit_document(hit) for hit in hits]}


@api.get("/usage", response=list[schemas.Usage], tags=["usage"])
def usage(request: HttpRequest, since: date | None = None, until: date | None = None) -> Any:
    """Sum what the key's creator has used, by month."""
    return list(summary(creator=request.user, since=since, until=until))


# --- Uploads ----------------------------------------------------------------------------


@api.post("/uploads", response={201: schemas.Upload}, auth=writes, tags=["uploads"])
@idempotent
def begin_upload(request: HttpRequest, wanted: schemas.UploadRequest) -> Any:
    """Begin an upload; then send its bytes to its `url` by tus 1.0, with the same key."""
    if not may_upload(request.user):
        raise Problem(HTTPStatus.FORBIDDEN, "You may not upload videos here.")
    if not uploads.is_resumable():
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, "The storage takes no files in pieces.")
    try:
        upload = uploads.begin(
            request.user, wanted.filename, wanted.size, title=wanted.title, language=wanted.language
        )
    except ValidationError as error:
        raise Problem(tus.refusal_status(error), " ".join(error.messages)) from None
    return api.create_response(request, _upload(request, upload), status=HTTPStatus.CREATED)


@api.get("/uploads/{uuid:upload_id}", response=schemas.Upload, tags=["uploads"])
def get_upload(request: HttpRequest, upload_id: UUID) -> Any:
    """Tell how much of an upload has arrived."""
    return _upload(request, _own_upload(request, upload_id))


@api.api_operation(
    ["HEAD", "PATCH", "DELETE"],
    "/uploads/{uuid:upload_id}",
    auth=writes,
    include_in_schema=False,
)
def resume_upload(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """Go on with an upload, or forget it, by tus 1.0."""
    _own_upload(request, upload_id)
    return tus.resume(request, request.user, upload_id)


def _own_upload(request: HttpRequest, upload_id: UUID) -> UploadRow:
    upload = UploadRow.objects.filter(creator=request.user, pk=upload_id).first()  # type: ignore[misc]
    if upload is None:
        raise not_found("upload")
    return upload


def _upload(request: HttpRequest, upload: UploadRow) -> dict[str, Any]:
    # The address of what was asked for is that of the API, whatever the project's prefix.
    base = request.path.rpartition("/uploads")[0]
    return {
        "id": str(upload.pk),
        "video_id": str(upload.video_id),
        "url": request.build_absolute_uri(f"{base}/uploads/{upload.pk}"),
        "offset": upload.offset,
        "size": upload.size,
        "is_complete": upload.completed_at is not None,
    }


# --- Webhooks ---------------------------------------------------------------------------


@api.get("/webhooks", response=list[schemas.Webhook], tags=["webhooks"], exclude_unset=True)
def list_webhooks(request: HttpRequest) -> Any:
    """List the webhooks of the key's creator."""
    return [_webhook(each) for each in Webhook.objects.filter(creator=request.user)]  # type: ignore[misc]


@api.post("/webhooks", response={201: schemas.Webhook}, auth=writes, tags=["webhooks"])
@idempotent
def add_webhook(request: HttpRequest, wanted: schemas.WebhookRequest) -> Any:
    """Add a webhook; its secret is told this once."""
    unknown = sorted(set(wanted.events) - set(webhooks.TOLD))
    if unknown:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"There are no such events: {', '.join(unknown)}. Known: {', '.join(webhooks.TOLD)}.",
        )
    made = Webhook(creator=request.user, url=wanted.url, events=wanted.events)  # type: ignore[misc]
    try:
        webhooks.check_url(made.url)
        made.clean_fields(exclude=["events"])
    except ValidationError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(error.messages)) from None
    made.save()
    told = _webhook(made) | {"secret": made.secret}
    return api.create_response(request, told, status=HTTPStatus.CREATED)


@api.delete("/webhooks/{uuid:webhook_id}", response={204: None}, auth=writes, tags=["webhooks"])
def delete_webhook(request: HttpRequest, webhook_id: UUID) -> HttpResponse:
    """Tell a webhook nothing any more."""
    _own_webhook(request, webhook_id).delete()
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


@api.get(
    "/webhooks/{uuid:webhook_id}/deliveries", response=list[schemas.Delivery], tags=["webhooks"]
)
def list_deliveries(request: HttpRequest, webhook_id: UUID) -> Any:
    """List what a webhook was told, the newest first: a hundred."""
    return list(_own_webhook(request, webhook_id).deliveries.all()[:_MAX_PAGE])


@api.post(
    "/webhooks/{uuid:webhook_id}/deliveries/{uuid:delivery_id}/resend",
    response={202: schemas.Delivery},
    auth=writes,
    tags=["webhooks"],
)
@idempotent
def resend_delivery(request: HttpRequest, webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send a delivery once more."""
    delivery = _own_webhook(request, webhook_id).deliveries.filter(pk=delivery_id).first()
    if delivery is None:
        raise not_found("delivery")
    again = webhooks.resend(delivery)
    again.refresh_from_db()
    told = schemas.Delivery.from_orm(again)
    return api.create_response(request, told, status=HTTPStatus.ACCEPTED)


def _own_webhook(request: HttpRequest, webhook_id: UUID) -> Webhook:
    found = Webhook.objects.filter(creator=request.user, pk=webhook_id).first()  # type: ignore[misc]
    if found is None:
        raise not_found("webhook")
    return found


def _webhook(row: Webhook) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "url": row.url,
        "events": row.events,
        "is_active": row.is_active,
        "created_at": row.created_at.isoformat() if row.created_at else None,
    }


# --- Its description --------------------------------------------------------------------


def document(prefix: str = "/api/v1/") -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    described = dict(api.get_openapi_schema(path_prefix=prefix))
    described["paths"] = dict(sorted(described["paths"].items()))
    return described


def _one(videos: QuerySet[Video], video_id: UUID) -> Video:
    video = videos.filter(pk=video_id).first()
    if video is None:
        raise not_found()
    return video


def _cursor(pk: UUID) -> str:
    return base64.urlsafe_b64encode(pk.bytes).decode().rstrip("=")


def _after(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (binascii.Error, ValueError):
        raise Problem(HTTPStatus.BAD_REQUEST, "The cursor cannot be read.") from None
