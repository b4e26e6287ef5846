"""Webhooks: signed, told once, tried again for days, never inside our own network."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.exceptions import ValidationError
from django.db.models.functions import Now
from django.urls import reverse
from standardwebhooks.webhooks import Webhook as Verifier

from tests.conftest import ended, eventually
from tests.rows import completed_video
from videos import events
from videos.local.addresses import ForbiddenAddress, public_address
from videos.models import ApiKey, Run, Webhook, WebhookDelivery
from videos.pipeline import webhooks

pytestmark = pytest.mark.django_db(transaction=True)


class Receiver:
    """A server that keeps what it is told, and answers with `status`."""

    def __init__(self):
        receiver = self
        self.told, self.status = [], 200

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.told.append((body, dict(self.headers)))
                self.send_response(receiver.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?a=b"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def hook(creator, receiver, settings):
    settings.CHRONOS_WEBHOOK_PRIVATE_ADDRESSES = True
    return Webhook.objects.create(creator=creator, url=receiver.url)


def complete(video):
    events.emit(
        "video/completed",
        video_id=video.pk,
        creator_id=video.creator_id,
        duration_s=60,
        chunk_count=1,
    )


def test_a_webhook_is_told_what_happens_and_by_whom(upload, hook, receiver, worker):
    video = ended(upload())

    eventually(lambda: WebhookDelivery.objects.filter(state="delivered").count() == 2)
    told = {json.loads(body)["type"]: (body, headers) for body, headers in receiver.told}
    assert set(told) == {"video/transcription.completed", "video/completed"}
    body, headers = told["video/completed"]
    said = Verifier(hook.secret).verify(body, headers)
    assert said["data"]["video_id"] == str(video.pk)
    assert (said["data"]["title"], said["data"]["status"]) == ("clip", "completed")
    delivery = WebhookDelivery.objects.get(event="video/completed")
    assert (delivery.http_status, delivery.attempts, delivery.error) == (200, 1, "")
    assert headers["webhook-id"] == f"msg_{delivery.pk.hex}"


def test_an_event_is_told_once_to_those_who_want_it(creator, hook, receiver, worker):
    Webhook.objects.create(creator=creator, url=receiver.url, events=["video/failed"])
    Webhook.objects.create(creator=creator, url=receiver.url, is_active=False)
    other = type(creator).objects.create_user("grace")
    Webhook.objects.create(creator=other, url=receiver.url)

    complete(completed_video(creator))

    eventually(lambda: receiver.told)
    eventually(lambda: not Run.objects.filter(state__in=("waiting", "queued", "running")).exists())
    assert WebhookDelivery.objects.count() == len(receiver.told) == 1


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_does_not_arrive_is_tried_again_and_given_up(
    creator, hook, receiver, worker, status, monkeypatch
):
    monkeypatch.setattr(webhooks, "_PAUSES_S", (0.05, 0.05))
    receiver.status = status

    complete(completed_video(creator))

    delivery = eventually(lambda: WebhookDelivery.objects.filter(state="failed").first())
    assert (delivery.attempts, delivery.http_status) == (3, status)
    assert f"HTTP {status}" in delivery.error
    run = eventually(lambda: Run.objects.filter(function="deliver_webhook", state="failed").first())
    assert run.error_code == "webhook_failed"
    # A redirect is not followed: it could lead anywhere.
    assert len(receiver.told) == 3


def test_while_it_waits_it_is_seen_why(creator, hook, receiver, worker):
    receiver.status = 500

    complete(completed_video(creator))

    run = eventually(
        lambda: (
            Run.objects.filter(function="deliver_webhook", state="waiting")
            .exclude(next_attempt_at=None)
            .first()
        )
    )
    assert run.waiting_for["reason"] == "service"
    receiver.status = 200
    Run.objects.filter(pk=run.pk).update(next_attempt_at=Now())
    eventually(lambda: WebhookDelivery.objects.filter(state="delivered").exists())


def test_a_receiver_that_is_gone_is_told_nothing_more(creator, hook, receiver, worker):
    receiver.status = 410

    complete(completed_video(creator))

    eventually(lambda: WebhookDelivery.objects.filter(state="failed").exists())
    hook.refresh_from_db()
    assert (hook.is_active, len(receiver.told)) == (False, 1)


def test_a_server_that_is_not_there_is_an_error_of_the_delivery(creator, hook, receiver, worker):
    Webhook.objects.update(url="http://127.0.0.1:9/")

    complete(completed_video(creator))

    delivery = eventually(lambda: WebhookDelivery.objects.exclude(error="").first())
    assert (delivery.state, delivery.attempts) == ("pending", 1)


def test_a_delivery_is_sent_again_from_the_admin(admin_client, creator, hook, receiver, worker):
    complete(completed_video(creator))
    first = eventually(lambda: WebhookDelivery.objects.filter(state="delivered").first())

    page = reverse("admin:videos_webhookdelivery_changelist")
    admin_client.post(page, {"action": "resend", "_selected_action": [first.pk]})

    eventually(lambda: len(receiver.told) == 2)
    assert receiver.told[0][0] == receiver.told[1][0]
    assert hook.secret not in admin_client.get(page).content.decode()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254"),
        *("0.0.0.0", "::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
        *("100.64.0.1", "224.0.0.1", "2002:7f00:1::", "0x7f000001", "2130706433", "127.1"),
        *("no-such-host.invalid", "a" * 300),
    ],
)
def test_no_request_goes_into_our_own_network(host):
    with pytest.raises(ForbiddenAddress):
        public_address(host, 443)


def test_public_addresses_are_allowed():
    assert public_address("93.184.215.14", 443) == "93.184.215.14"
    assert public_address("2606:4700::1111", 443) == "2606:4700::1111"


@pytest.mark.parametrize(
    "url", ["http://93.184.215.14/", "https://127.0.0.1/", "https://[::1]/", "ftp://x", "https://"]
)
def test_such_a_webhook_cannot_be_made(url):
    with pytest.raises(ValidationError):
        webhooks.check_url(url)


def test_a_name_that_moves_into_our_network_later_is_not_followed(
    creator, receiver, worker, settings
):
    Webhook.objects.create(creator=creator, url=receiver.url.replace("http:", "https:"))

    complete(completed_video(creator))

    delivery = eventually(lambda: WebhookDelivery.objects.exclude(error="").first())
    assert "private network" in delivery.error
    assert receiver.told == []


def test_a_creator_makes_and_revokes_keys_on_a_page(client, creator, django_user_model):
    client.force_login(creator)
    page = reverse("videos:keys")

    shown = client.post(page, {"name": "My <tool>", "scope": "write"}).content.decode()
    key = ApiKey.objects.get()
    assert "My &lt;tool&gt;" in shown
    token = shown.split('readonly value="')[1].split('"')[0]
    assert ApiKey.find(token) == key
    assert token not in client.get(page).content.decode()
    client.force_login(django_user_model.objects.create_user("grace"))
    assert client.post(reverse("videos:revoke", args=[key.pk])).status_code == 404
    assert ApiKey.find(token)
    client.force_login(creator)
    client.post(reverse("videos:revoke", args=[key.pk]))
    assert ApiKey.find(token) is None
