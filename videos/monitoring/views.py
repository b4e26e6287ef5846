"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import ipaddress
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from videos.conf import conf
from videos.monitoring import exposition, readiness


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process answers, and ask nothing of others: a restart would not mend them."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether all that the site needs is there; what is not is named, and no more."""
    missing = readiness.unready()
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return JsonResponse({"ready": not missing, "missing": missing}, status=status)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the gauges for Prometheus, to who has the token or asks from a private address."""
    if not _may_read(request):
        return HttpResponse("Send CHRONOS_METRICS_TOKEN as a bearer token.\n", status=403)
    return HttpResponse(exposition.text(), content_type=exposition.CONTENT_TYPE)


def _may_read(request: HttpRequest) -> bool:
    token = conf().metrics_token
    if token:
        return constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}")
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False  # Who asks through a proxy has the proxy's address.
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_private
    except ValueError:
        return False
