"""Telling other systems what happens to a creator's videos, by Standard Webhooks.

Every event that a webhook wants becomes a delivery, once, and each delivery a durable run: it is
tried again for three days, as the specification advises (standardwebhooks.com).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import F
from django.db.models.functions import Now
from django.utils.functional import SimpleLazyObject
from pydantic import BaseModel
from standardwebhooks.webhooks import Webhook as Signer

from videos import events
from videos.conf import conf
from videos.durable import runs
from videos.durable.claims import Claim
from videos.durable.registry import WHOLE, Function, Stage, registry
from videos.exceptions import ChronosError, ServiceUnavailable
from videos.local.addresses import ForbiddenAddress, public_address
from videos.models import Event, Run, Video, Webhook, WebhookDelivery

if TYPE_CHECKING:
    import httpx
else:  # Only who posts needs it.
    httpx = SimpleLazyObject(partial(import_module, "httpx"))

#: What webhooks are told, by the names that events have.
TOLD = (
    *("video/completed", "video/failed", "video/cancelled", "video/transcription.completed"),
    "video/transcript.corrected",
)
#: Seconds until the next attempt: a few seconds, then longer, three days in all.
_PAUSES_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 72_000)
_WITHIN_S = 15.0
_MAX_ERROR = 200


class Undelivered(ServiceUnavailable):
    """Raised when a webhook did not answer with success; the run waits, and tries again."""

    waits_for = Run.Waiting.SERVICE.value


class GivenUp(ChronosError):
    """Raised when a webhook was not reached for three days, or never may be."""

    code = "webhook_failed"


class DeliveryData(BaseModel):
    """`video/webhook.requested`: a delivery that is to be made."""

    delivery_id: UUID


def check_url(url: str) -> None:
    """Refuse an address that no webhook may have.

    Raises:
        ValidationError: if it is not https, or of this machine or a private network.
    """
    if conf().webhook_private_addresses:
        return
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValidationError("A webhook's address begins with https://.")
    try:
        public_address(parts.hostname, parts.port or 443)
    except ForbiddenAddress as error:
        raise ValidationError(str(error)) from None


def start(event: Event, function: Function) -> list[Run]:
    """Make a delivery for each webhook of the creator that wants this event, and its run."""
    hooks = Webhook.objects.filter(creator=event.data["creator_id"], is_active=True)
    wanted = [hook for hook in hooks if not hook.events or event.name in hook.events]
    if not wanted:
        return []
    body = _body(event)
    made = WebhookDelivery.objects.bulk_create(
        [
            WebhookDelivery(webhook=hook, event_id=event.pk, event=event.name, body=body)
            for hook in wanted
        ],
        # Dispatched once more after a crash, it is the same delivery.
        ignore_conflicts=True,
    )
    theirs = WebhookDelivery.objects.filter(pk__in=[each.pk for each in made])
    for delivery in theirs:
        events.send("video/webhook.requested", {"delivery_id": delivery.pk})
    return []


def resend(delivery: WebhookDelivery) -> WebhookDelivery:
    """Send what was sent before once more, as a delivery of its own."""
    again = WebhookDelivery.objects.create(
        webhook=delivery.webhook, event=delivery.event, body=delivery.body
    )
    events.send("video/webhook.requested", {"delivery_id": again.pk})
    return again


def _body(event: Event) -> str:
    video = Video.objects.filter(pk=event.data["video_id"]).values("title", "status").first()
    told = {
        "type": event.name,
        "timestamp": datetime.now(UTC).isoformat(),
        "data": event.data | (video or {}),
    }
    return json.dumps(told, ensure_ascii=False)


def deliver(claim: Claim) -> None:
    """Make one attempt; an answer of 2xx ends the run, anything else has it wait."""
    found = WebhookDelivery.objects.select_related("webhook")
    delivery = found.filter(pk=claim.run.data["delivery_id"]).first()
    if delivery is not None and delivery.webhook.is_active:
        _attempt(claim, delivery)
    with claim.guard() as run:
        runs.complete(run)


def _attempt(claim: Claim, delivery: WebhookDelivery) -> None:
    rows = WebhookDelivery.objects.filter(pk=delivery.pk)
    with claim.guard():
        rows.update(attempts=F("attempts") + 1)
    status, error = None, ""
    try:
        status = claim.await_call(2 * _WITHIN_S, _post, delivery)
    except (httpx.HTTPError, ForbiddenAddress, TimeoutError, ValueError) as raised:
        error = str(raised)[:_MAX_ERROR] or type(raised).__name__
    if status is not None and 200 <= status < 300:
        with claim.guard():
            rows.update(
                state=WebhookDelivery.State.DELIVERED,
                http_status=status,
                error="",
                delivered_at=Now(),
            )
        return
    said = error or f"It answered with HTTP {status}."
    attempts = delivery.attempts + 1
    # 410 Gone: nobody wants to be told any more (Standard Webhooks, "Retry schedule").
    is_over = attempts > len(_PAUSES_S) or status == 410
    with claim.guard():
        state = WebhookDelivery.State.FAILED if is_over else WebhookDelivery.State.PENDING
        rows.update(state=state, http_status=status, error=said)
        if status == 410:
            Webhook.objects.filter(pk=delivery.webhook_id).update(is_active=False)
    if is_over:
        raise GivenUp(f"The webhook {delivery.webhook.url} could not be told: {said}")
    raise Undelivered(
        f"The webhook {delivery.webhook.url} could not be told yet: {said}",
        retry_after_s=_PAUSES_S[attempts - 1],
    )


def _post(delivery: WebhookDelivery) -> int:
    """Post a delivery to the address that its host resolves to now; return the status."""
    url = httpx.URL(delivery.webhook.url)
    extensions = {}
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Chronos-Webhook/1",
        "Host": url.netloc.decode(),
        **_signature(delivery),
    }
    if not conf().webhook_private_addresses:
        if url.scheme != "https":
            raise ForbiddenAddress("A webhook's address begins with https://.")
        # The certificate is the name's, the connection the address's.
        extensions = {"sni_hostname": url.host}
        url = url.copy_with(host=public_address(url.host, url.port or 443))
    with (
        httpx.Client(timeout=_WITHIN_S, follow_redirects=False, trust_env=False) as client,
        client.stream(
            "POST", url, content=delivery.body.encode(), headers=headers, extensions=extensions
        ) as response,
    ):
        # Nobody asked for what it says: it is not read.
        return response.status_code


def _signature(delivery: WebhookDelivery) -> dict[str, str]:
    """Return the headers of Standard Webhooks, by which a receiver knows who sent it."""
    now, name = datetime.now(UTC), f"msg_{delivery.pk.hex}"
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(delivery.webhook.secret).sign(name, now, delivery.body),
    }


def _start_delivery(event: Event, function: Function) -> list[Run]:
    run = runs.create(function, data=event.data, event_id=event.pk)
    return [run] if run else []


registry.add_type("video/webhook.requested", DeliveryData)
_DELIVERY = {WHOLE: Stage("deliver_webhook", deliver)}
registry.add_function(
    Function("deliver_webhook", "video/webhook.requested", _DELIVERY, start=_start_delivery)
)
for _name in TOLD:
    _told: dict[str, Any] = {WHOLE: Stage("deliver_webhook", deliver)}
    registry.add_function(Function(f"tell_webhooks of {_name}", _name, _told, start=start))
