"""The addresses of the API: its operations, and the document that describes them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from videos.api.problems import not_found
from videos.api.v1 import api, document

app_name = "api"


@require_safe
def openapi(request: HttpRequest) -> JsonResponse:
    """Return the OpenAPI 3.1 document; it tells nothing of anybody."""
    return JsonResponse(document(request.path.removesuffix("openapi.json")))


def nothing(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer to addresses that the API does not have."""
    return not_found("address").response


urlpatterns = [
    path("openapi.json", openapi, name="openapi"),
    path("", api.urls),
    path("<path:rest>", nothing, name="nothing"),
]
