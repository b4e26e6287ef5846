"""Whether one is told by email that videos are done."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from videos.models import EmailWish
from videos.pipeline import emails


@require_POST
@login_required
def wish(request: HttpRequest) -> HttpResponse:
    """Turn emails on or off for oneself."""
    if request.POST.get("wanted"):
        EmailWish.objects.get_or_create(user=request.user)  # type: ignore[misc]
        messages.success(request, _("You will be told by email."))
    else:
        EmailWish.objects.filter(user=request.user).delete()  # type: ignore[misc]
        messages.success(request, _("You will get no more emails."))
    return redirect("videos:upload")


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """End the emails of who got this link; mail programs do it by a POST of their own."""
    if request.method == "POST" and not emails.unsubscribe(token):
        raise Http404("This link is not one of ours.")
    return render(request, "videos/unsubscribe.html", {"is_done": request.method == "POST"})
