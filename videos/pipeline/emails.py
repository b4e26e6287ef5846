"""The function `send_digest`: one email about all videos of a creator that have ended.

Only to who asked for it, where CHRONOS_SITE_URL says how links begin. A digest waits for a
minute, and while more of the creator's videos are processed, for an hour at the most.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from django.contrib.auth import get_user_model
from django.core import signing
from django.core.mail import EmailMessage
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import ngettext

from videos.conf import conf
from videos.durable import runs
from videos.durable.claims import Claim
from videos.durable.registry import WHOLE, Function, Stage, registry
from videos.exceptions import ServiceUnavailable
from videos.models import ACTIVE_STATES, EmailItem, EmailWish, Event, Run, Video

_BURST = timedelta(minutes=1)
_LONGEST = timedelta(hours=1)
_AGAIN_S = 60.0
_RETRIES = 5
_NAME = "send_digest"
_SALT = "videos.unsubscribe"


class NotYet(ServiceUnavailable):
    """Raised while more of a creator's videos are processed: the digest will tell of them, too."""

    waits_for = Run.Waiting.ASLEEP.value


def can_be_told(user: Any) -> bool:
    """Whether emails can be sent to a user at all."""
    return bool(conf().site_url and _address(user))


def start(event: Event, function: Function) -> list[Run]:
    """Put the video into its creator's next email, and start the run that sends it."""
    wish = EmailWish.objects.select_related("user").filter(user=event.data["creator_id"]).first()
    if wish is None or not can_be_told(wish.user):
        return []
    video = Video.objects.filter(pk=event.data["video_id"]).first()
    if video is None:
        return []
    EmailItem.objects.get_or_create(
        event_id=event.pk,
        defaults={
            "user": wish.user,
            "video_id": video.pk,
            "title": str(video),
            "error": event.data.get("error", ""),
        },
    )
    to_come = Run.objects.filter(
        function__startswith=_NAME, data__user_id=str(wish.user.pk), state=Run.State.WAITING
    )
    if to_come.exists():
        return []
    run = runs.create(
        function,
        data={"user_id": str(wish.user.pk)},
        event_id=event.pk,
        next_attempt_at=Now() + _BURST,
    )
    return [run] if run else []


def send_digest(claim: Claim) -> None:
    """Send what there is to tell a user.

    Raises:
        NotYet: while more is to come.
    """
    wish = EmailWish.objects.select_related("user").filter(user=claim.run.data["user_id"]).first()
    items = list(EmailItem.objects.filter(user=claim.run.data["user_id"]))
    if wish is not None and items:
        if _is_more_to_come(wish.user, items):
            raise NotYet("More videos are being processed.", retry_after_s=_AGAIN_S)
        # Killed between the two, it is sent twice: better than never.
        _message(wish.user, items).send()
    with claim.guard() as run:
        EmailItem.objects.filter(pk__in=[item.pk for item in items]).delete()
        runs.complete(run)


def _is_more_to_come(user: Any, items: list[EmailItem]) -> bool:
    fresh = EmailItem.objects.filter(pk=items[0].pk, created_at__gt=Now() - _LONGEST)
    working = Run.objects.filter(video__creator=user, state__in=ACTIVE_STATES)
    return fresh.exists() and working.exists()


def _message(user: Any, items: list[EmailItem]) -> EmailMessage:
    unsubscribe = urljoin(conf().site_url, reverse("videos:unsubscribe", args=[token(user)]))
    links = [
        (item, urljoin(conf().site_url, reverse("videos:watch", args=[item.video_id])))
        for item in items
    ]
    subject = ngettext("%(count)d video is done", "%(count)d videos are done", len(items))
    context = {"links": links, "unsubscribe": unsubscribe}
    return EmailMessage(
        subject % {"count": len(items)},
        render_to_string("videos/digest.txt", context),
        to=[_address(user)],
        # RFC 8058: one click ends it, in the mail program itself.
        headers={
            "List-Unsubscribe": f"<{unsubscribe}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )


def _address(user: Any) -> str:
    address: str = getattr(user, user.get_email_field_name(), "") or ""
    return address


def token(user: Any) -> str:
    """Return what ends a user's emails without signing in."""
    return signing.dumps(str(user.pk), salt=_SALT)


def unsubscribe(said: str) -> bool:
    """End the emails of a token's user; return whether it is one of ours."""
    try:
        pk = signing.loads(said, salt=_SALT)
    except signing.BadSignature:
        return False
    EmailWish.objects.filter(user=get_user_model()._default_manager.filter(pk=pk).first()).delete()
    return True


for _name in ("video/completed", "video/failed"):
    registry.add_function(
        Function(
            f"{_NAME} of {_name}",
            _name,
            {WHOLE: Stage(_NAME, send_digest, _RETRIES)},
            start=start,
        )
    )
