"""Who calls: a key of a creator, its scope, its limit a minute; and writes that are done once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from ninja.security import HttpBearer

from videos.api.problems import Problem
from videos.durable.registry import Chore, registry
from videos.models import ApiKey, IdempotentRequest

_KEPT = timedelta(hours=24)
_MAX_NAME = 255


class KeyAuth(HttpBearer):
    """`Authorization: Bearer chr_…`, of a key with a scope."""

    def __init__(self, scope: ApiKey.Scope) -> None:
        super().__init__()
        self._scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        """Return the key, and make its creator the request's user.

        Raises:
            Problem: if it may not write, or has asked too often within a minute.
        """
        key = ApiKey.find(token)
        if key is None:
            return None
        if key.count_request() > key.requests_per_minute:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"This key may ask {key.requests_per_minute} times a minute.",
                Retry_After="60",
            )
        if self._scope == ApiKey.Scope.WRITE and key.scope != ApiKey.Scope.WRITE:
            raise Problem(HTTPStatus.FORBIDDEN, "This key may read only.")
        request.user = key.creator
        return key


reads, writes = KeyAuth(ApiKey.Scope.READ), KeyAuth(ApiKey.Scope.WRITE)


def idempotent(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Do a write that names itself by `Idempotency-Key` once; answer the same the second time."""

    @functools.wraps(operation)
    def once(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        name = request.headers.get("Idempotency-Key", "")
        if not name:
            return operation(request, *args, **kwargs)
        if len(name) > _MAX_NAME:
            raise Problem(HTTPStatus.BAD_REQUEST, "Idempotency-Key is too long.")
        row = _begun(request, name)
        if isinstance(row, HttpResponse):
            return row
        try:
            answer = operation(request, *args, **kwargs)
        except BaseException:
            # Nothing was done: it may be tried again under the same name.
            row.delete()
            raise
        return _kept(row, answer)

    return once


def _begun(request: HttpRequest, name: str) -> IdempotentRequest | HttpResponse:
    key: ApiKey = request.auth  # type: ignore[attr-defined]
    said = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    fingerprint = hashlib.sha256(said).hexdigest()
    try:
        with transaction.atomic():
            return IdempotentRequest.objects.create(key=key, name=name, fingerprint=fingerprint)
    except IntegrityError:
        before = IdempotentRequest.objects.filter(key=key, name=name).first()
    if before is not None and before.fingerprint != fingerprint:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "This Idempotency-Key was used for another request."
        )
    if before is None or before.http_status is None:
        raise Problem(HTTPStatus.CONFLICT, "This request is being done.", Retry_After="1")
    return HttpResponse(
        before.body,
        status=before.http_status,
        content_type=before.content_type,
        headers={"Idempotent-Replayed": "true"},
    )


def _kept(row: IdempotentRequest, answer: HttpResponse) -> HttpResponse:
    row.http_status = answer.status_code
    row.body = answer.content.decode()
    row.content_type = answer.headers.get("Content-Type", "")
    row.save()
    return answer


def _old() -> QuerySet[IdempotentRequest]:
    return IdempotentRequest.objects.filter(created_at__lt=Now() - _KEPT)


registry.chores["idempotent requests"] = Chore(_old, lambda: _old().delete())
