"""A creator's keys of the API: made, shown once, revoked."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from videos.models import ApiKey


class KeyForm(forms.Form):
    """A new key."""

    name = forms.CharField(label=gettext_lazy("What it is for"), max_length=100)
    scope = forms.ChoiceField(label=gettext_lazy("It may"), choices=ApiKey.Scope.choices)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def keys(request: HttpRequest) -> HttpResponse:
    """List one's keys; a new one is shown this once."""
    form, token = KeyForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        _key, token = ApiKey.issue(request.user, said["name"], said["scope"])
        form = KeyForm()
    mine = ApiKey.objects.filter(creator=request.user, revoked_at=None)  # type: ignore[misc]
    return render(request, "videos/keys.html", {"keys": mine, "form": form, "token": token})


@require_POST
@login_required
def revoke(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Let a key of one's own open nothing any more."""
    mine = ApiKey.objects.filter(creator=request.user)  # type: ignore[misc]
    key = get_object_or_404(mine, pk=key_id)
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now())
    messages.success(request, _("The key was revoked."))
    return redirect("videos:keys")
