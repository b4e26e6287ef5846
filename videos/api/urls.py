"""The addresses of the API: its operations, and the document that describes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from videos.api.problems import Problem, not_found
from videos.api.v1 import api, document

app_name = "api"


@require_safe
def openapi(request: HttpRequest) -> JsonResponse:
    """Return the OpenAPI 3.1 document; it tells nothing of anybody."""
    return JsonResponse(document(request.path.removesuffix("openapi.json")))


@csrf_exempt
def nothing(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer to addresses that the API does not have."""
    return not_found("address").response


def _operations() -> tuple[list[URLPattern | URLResolver], str]:
    """Return the operations; to methods that they do not have they answer as to all errors."""
    patterns, app, _ = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and pattern.callback is not None:
            pattern.callback = _telling_methods(pattern.callback)
    return patterns, app


def _telling_methods(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
            return response
        allowed = response["Allow"]
        return Problem(
            HTTPStatus.METHOD_NOT_ALLOWED, f"This address takes {allowed}.", Allow=allowed
        ).response

    return answer


urlpatterns = [
    path("openapi.json", openapi, name="openapi"),
    path("", include(_operations(), namespace=api.urls_namespace)),
    path("<path:rest>", nothing, name="nothing"),
]
