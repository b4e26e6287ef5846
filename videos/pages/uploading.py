"""Uploading: a page that works by a plain form, and goes on after a break where it has scripts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from videos.access import editable_videos, may_upload
from videos.conf import conf
from videos.durable.paid import budgets
from videos.models import EmailWish, Video
from videos.pages import tus
from videos.pages.forms import BeginForm, UploadForm
from videos.pipeline import emails, quota, uploads
from videos.pipeline.estimate import usd_per_hour


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def upload(request: HttpRequest) -> HttpResponse:
    """Take files by a plain form; show how far those are that come in pieces."""
    _check_permitted(request)
    if request.method == "POST":
        form = UploadForm(request.POST, request.FILES, creator=request.user)
        if form.is_valid():
            form.save()
            return redirect("videos:library")
    else:
        form = UploadForm(creator=request.user)
    context = {
        "form": form,
        "half_done": quota.half_done(request.user),
        "room": quota.room(request.user),
        "max_bytes": conf().max_upload_bytes,
        "is_resumable": uploads.is_resumable(),
        "can_be_told": emails.can_be_told(request.user),
        "usd_per_hour": usd_per_hour(),
        "spent": budgets.of(request.user.pk),
        "is_told": EmailWish.objects.filter(user=request.user).exists(),  # type: ignore[misc]
    }
    status = HTTPStatus.OK if form.is_valid() or not form.is_bound else HTTPStatus.BAD_REQUEST
    return render(request, "videos/upload.html", context, status=status)


@require_http_methods(["POST", "OPTIONS"])
@transaction.non_atomic_requests
def begin(request: HttpRequest) -> HttpResponseBase:
    """Begin an upload that comes in pieces: by a form, or by the headers of tus."""
    if request.method == "OPTIONS":
        return tus.options()
    _check_permitted(request)
    if "Upload-Length" in request.headers:
        return tus.create(request, request.user, _address)
    form = BeginForm(request.POST, request.FILES)
    if not form.is_valid():
        return _refused(form.errors.get_json_data())
    said = form.cleaned_data
    replaces = None
    if named := request.POST.get("replaces"):
        replaces = _editable(request, named)
    try:
        begun = uploads.begin(
            request.user,
            said["filename"],
            said["size"],
            title=said["title"],
            language=said["language"],
            captions=said["captions"],
            replaces=replaces,
        )
    except ValidationError as error:
        return _refused({"recordings": [{"message": message} for message in error.messages]})
    return tus.begun(begun, _address(begun))


@require_http_methods(["HEAD", "PATCH", "DELETE", "OPTIONS"])
@transaction.non_atomic_requests
def resume(request: HttpRequest, upload_id: UUID) -> HttpResponseBase:
    """Go on with an upload of one's own."""
    if request.method == "OPTIONS":
        return tus.options()
    _check_permitted(request)
    return tus.resume(request, request.user, upload_id)


def _check_permitted(request: HttpRequest) -> None:
    if not (request.user.is_authenticated and may_upload(request.user)):
        raise PermissionDenied


def _editable(request: HttpRequest, named: str) -> Video:
    try:
        return get_object_or_404(editable_videos(request.user), pk=UUID(named))
    except ValueError:
        raise PermissionDenied from None


def _address(begun: Any) -> str:
    return reverse("videos:resume", args=[begun.pk])


def _refused(errors: Any) -> JsonResponse:
    return JsonResponse({"errors": errors}, status=HTTPStatus.BAD_REQUEST)
