"""The JSON API: keys, scopes, limits, cursors, writes that are done once, errors, its document."""

import json
import re

import pytest
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import Client

from tests.conftest import PROJECT
from tests.rows import completed_video, spoken_video
from videos.api.v1 import document
from videos.durable.sweep import sweep
from videos.models import (
    ACTIVE_STATES,
    ApiKey,
    IdempotentRequest,
    Pause,
    Run,
    Segment,
    Upload,
    Video,
    Webhook,
    WebhookDelivery,
)
from videos.pipeline.corrections import Conflict

pytestmark = pytest.mark.django_db(transaction=True)
API = "/api/v1"


class Caller:
    """A client that sends a key, and JSON."""

    def __init__(self, client, token):
        self._client, self._token = client, token

    def __call__(self, method, path, data=None, **headers):
        headers = {"Authorization": f"Bearer {self._token}", **headers}
        body = {} if data is None else {"data": json.dumps(data)}
        return self._client.generic(
            method, f"{API}{path}", content_type="application/json", headers=headers, **body
        )


@pytest.fixture
def writer(client, creator):
    return Caller(client, ApiKey.issue(creator, "tests", ApiKey.Scope.WRITE)[1])


@pytest.fixture
def reader(client, creator):
    return Caller(client, ApiKey.issue(creator, "tests")[1])


def assert_problem(answer, status):
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    return answer.json()


def test_only_the_digest_of_a_key_is_kept(creator):
    key, token = ApiKey.issue(creator, "mine")

    assert token not in json.dumps(list(ApiKey.objects.values()), default=str)
    assert token.startswith(key.prefix)
    assert ApiKey.find(token) == key
    assert ApiKey.find(token + "x") is None


@pytest.mark.parametrize("token", ["", "x", "chr_none"])
def test_nobody_without_a_key_comes_in(client, token):
    answer = Caller(client, token)("GET", "/videos")

    assert_problem(answer, 401)
    assert answer["WWW-Authenticate"] == "Bearer"


def test_revoked_keys_and_those_of_locked_accounts_are_refused(client, creator):
    _, token = ApiKey.issue(creator, "mine")
    ApiKey.objects.update(revoked_at=Now())
    assert_problem(Caller(client, token)("GET", "/videos"), 401)
    ApiKey.objects.update(revoked_at=None)
    assert Caller(client, token)("GET", "/videos").status_code == 200
    type(creator).objects.update(is_active=False)
    assert_problem(Caller(client, token)("GET", "/videos"), 401)


def test_a_key_that_reads_does_not_write(reader, creator):
    video = completed_video(creator)

    assert reader("GET", f"/videos/{video.pk}").status_code == 200
    assert_problem(reader("DELETE", f"/videos/{video.pk}"), 403)
    assert_problem(reader("POST", "/uploads", {"filename": "a.mp4", "size": 1}), 403)
    assert Video.objects.exists()


def test_a_key_has_a_limit_a_minute(reader):
    ApiKey.objects.update(requests_per_minute=2)

    assert [reader("GET", "/videos").status_code for _ in range(2)] == [200, 200]
    limited = reader("GET", "/videos")
    assert_problem(limited, 429)
    assert limited["Retry-After"] == "60"
    ApiKey.objects.update(window="2020-01-01T00:00Z")
    assert reader("GET", "/videos").status_code == 200


def test_videos_come_in_pages_by_cursors(reader, creator, django_assert_max_num_queries):
    videos = [completed_video(creator) for _ in range(5)]

    first = reader("GET", "/videos?limit=2").json()
    second = reader("GET", f"/videos?limit=2&cursor={first['next_cursor']}").json()
    with django_assert_max_num_queries(8):
        third = reader("GET", f"/videos?limit=2&cursor={second['next_cursor']}").json()

    ids = [each["id"] for page in (first, second, third) for each in page["videos"]]
    assert ids == [str(video.pk) for video in reversed(videos)]
    assert third["next_cursor"] is None
    assert_problem(reader("GET", "/videos?cursor=x"), 400)
    assert reader("GET", "/videos?status=failed").json()["videos"] == []
    assert len(reader("GET", "/videos?q=TALK").json()["videos"]) == 5


def test_nothing_of_others_is_there(writer, creator, django_user_model):
    grace = django_user_model.objects.create_user("grace")
    theirs = spoken_video(grace, ["A secret."])
    hook = Webhook.objects.create(creator=grace, url="https://example.com")
    line = Segment.objects.get()

    for method, path, data in [
        ("GET", f"/videos/{theirs.pk}", None),
        ("PATCH", f"/videos/{theirs.pk}", {"title": "x"}),
        ("DELETE", f"/videos/{theirs.pk}", None),
        ("POST", f"/videos/{theirs.pk}/reprocess", {"from": "chunk"}),
        ("POST", f"/videos/{theirs.pk}/cancel", None),
        ("GET", f"/videos/{theirs.pk}/transcript", None),
        ("GET", f"/videos/{theirs.pk}/captions.vtt", None),
        ("GET", f"/videos/{theirs.pk}/chunks", None),
        ("PATCH", f"/videos/{theirs.pk}/lines/{line.pk}", {"version": 0, "text": "x"}),
        ("GET", f"/search?q=secret&video={theirs.pk}", None),
        ("GET", f"/uploads/{theirs.pk}", None),
        ("PATCH", f"/uploads/{theirs.pk}", None),
        ("DELETE", f"/webhooks/{hook.pk}", None),
        ("GET", f"/webhooks/{hook.pk}/deliveries", None),
        ("POST", f"/webhooks/{hook.pk}/deliveries/{hook.pk}/resend", None),
    ]:
        assert_problem(writer(method, path, data), 404)
    assert writer("GET", "/search?q=secret").json()["results"] == []
    assert writer("GET", "/videos").json()["videos"] == []
    assert writer("GET", "/webhooks").json() == []


def test_a_video_is_renamed_processed_again_cancelled_and_deleted(writer, creator):
    video = completed_video(creator)
    path = f"/videos/{video.pk}"

    assert writer("PATCH", path, {"title": "New"}).json()["title"] == "New"
    assert writer("POST", f"{path}/reprocess", {"from": "chunk"}).status_code == 202
    assert Run.objects.filter(video=video, state__in=ACTIVE_STATES).count() == 1
    assert writer("POST", f"{path}/cancel").json()["status"] == "cancelled"
    assert writer("DELETE", path).status_code == 204
    assert_problem(writer("GET", path), 404)


def test_what_cannot_be_done_or_read_says_why(writer, creator):
    video = completed_video(creator)

    problem = assert_problem(writer("POST", f"/videos/{video.pk}/reprocess", {}), 409)
    assert "say from which stage" in problem["detail"]
    problem = assert_problem(writer("PATCH", f"/videos/{video.pk}", {"title": ""}), 422)
    assert problem["errors"][0]["field"] == "body.title"
    assert_problem(writer("POST", "/uploads", {"filename": "a.exe", "size": 1}), 400)
    assert_problem(writer("POST", "/uploads", {"filename": "a.mp4", "size": 10**15}), 413)


def test_what_was_said_comes_line_by_line_and_is_corrected(writer, creator):
    video = spoken_video(creator, ["Compound interest grows.", "It does."])

    transcript = writer("GET", f"/videos/{video.pk}/transcript").json()
    line = transcript["lines"][0]
    change = {"version": line["version"], "text": "Compound interest grew.", "speaker": "Ada"}
    (changed,) = writer("PATCH", f"/videos/{video.pk}/lines/{line['id']}", change).json()

    assert (changed["text"], changed["speaker"]) == ("Compound interest grew.", "Ada")
    late = writer("PATCH", f"/videos/{video.pk}/lines/{line['id']}", change)
    assert assert_problem(late, 409)["errors"]["line"]["version"] == 2
    empty = {"version": 2, "text": " "}
    assert_problem(writer("PATCH", f"/videos/{video.pk}/lines/{line['id']}", empty), 422)
    (hit,) = writer("GET", "/search?q=compound&limit=1&mode=text").json()["results"]
    assert (hit["video_id"], hit["snippet"][:23]) == (str(video.pk), "Compound interest grew.")
    captions = writer("GET", f"/videos/{video.pk}/captions.vtt")
    assert captions.content.startswith(b"WEBVTT")
    assert writer("GET", f"/videos/{video.pk}/chunks").json()[0]["index"] == 0
    assert writer("GET", "/usage").status_code == 200


def test_a_file_is_uploaded_by_tus_with_the_key(writer, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    begun = writer("POST", "/uploads", {"filename": "talk.mp4", "size": 5, "title": "A talk"})
    upload = begun.json()
    path = upload["url"].partition(API)[2]
    tus = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}

    assert (begun.status_code, upload["is_complete"]) == (201, False)
    assert writer("HEAD", path)["Upload-Offset"] == "0"
    client = writer._client
    sent = client.patch(
        f"{API}{path}",
        b"hello",
        content_type="application/offset+octet-stream",
        headers={**tus, "Authorization": f"Bearer {writer._token}"},
    )

    assert sent.status_code == 204
    assert writer("GET", path).json()["is_complete"]
    assert writer("GET", f"/videos/{upload['video_id']}").json()["title"] == "A talk"


def test_a_write_that_names_itself_is_done_once(writer, reader, creator):
    wanted = {"filename": "talk.mp4", "size": 5}
    named = {"Idempotency-Key": "upload-1"}

    first = writer("POST", "/uploads", wanted, **named)
    again = writer("POST", "/uploads", wanted, **named)
    other = writer("POST", "/uploads", {**wanted, "size": 6}, **named)

    assert again.json() == first.json()
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")
    assert_problem(other, 422)
    assert Upload.objects.count() == 1
    IdempotentRequest.objects.update(http_status=None)
    assert_problem(writer("POST", "/uploads", wanted, **named), 409)
    IdempotentRequest.objects.update(created_at="2020-01-01T00:00Z")
    sweep()
    assert not IdempotentRequest.objects.exists()


def test_a_write_that_failed_may_be_tried_again_under_its_name(writer, settings):
    named = {"Idempotency-Key": "upload-1"}
    wanted = {"filename": "talk.mp4", "size": 50}
    settings.CHRONOS_MAX_UPLOAD_BYTES = 10
    assert_problem(writer("POST", "/uploads", wanted, **named), 413)
    settings.CHRONOS_MAX_UPLOAD_BYTES = 100

    assert writer("POST", "/uploads", wanted, **named).status_code == 201
    assert_problem(writer("POST", "/uploads", wanted, **{"Idempotency-Key": "x" * 300}), 400)


def test_the_document_that_is_checked_in_is_the_one_that_is_served(client):
    served = client.get(f"{API}/openapi.json").json()
    checked_in = json.loads((PROJECT / "docs" / "openapi.json").read_text())

    assert served == checked_in == json.loads(json.dumps(document()))
    assert served["openapi"].startswith("3.1")
    described = {(method, path) for path, methods in served["paths"].items() for method in methods}
    assert len(described) > 18


def test_every_operation_asks_for_a_key(client, creator):
    video = completed_video(creator)
    for path, methods in document()["paths"].items():
        address = re.sub(r"\{kind\}", "vtt", path)
        address = re.sub(r"\{(line|pause)_id\}", "1", address)
        address = re.sub(r"\{\w+\}", str(video.pk), address)
        for method in methods:
            answer = client.generic(method.upper(), address, content_type="application/json")
            assert answer.status_code == 401, (method, path)
    client.force_login(creator)
    # A session is no key: pages of other sites could use it.
    assert client.get(f"{API}/videos").status_code == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/videos?limit=0", 422), ("/videos?limit=101", 422), ("/videos?status=bogus", 422)),
        *(("/search?q=", 422), ("/search", 422), ("/nothing", 404), ("/videos/nope", 404)),
    ],
)
def test_wrong_questions_are_problems_too(reader, path, status):
    assert_problem(reader("GET", path), status)


def test_a_body_that_is_no_json_is_a_problem(writer):
    answer = writer._client.post(
        f"{API}/uploads",
        "{bad",
        content_type="application/json",
        headers={"Authorization": f"Bearer {writer._token}"},
    )

    assert_problem(answer, 400)


def test_operators_pause_and_resume(writer, reader, creator, upload):
    creator.user_permissions.set(Permission.objects.filter(codename__endswith="_pause"))
    why = {"why": "deployment", "until": "2100-01-01T00:00:00Z"}

    said = writer("POST", "/pauses", {"kind": "creator", "name": creator.get_username(), **why})
    assert said.status_code == 201
    video = upload()
    assert Run.objects.get(video=video).waiting_reason == "paused"
    assert reader("GET", "/pauses").json() == {"pauses": [said.json()]}
    assert said.json()["by"] == said.json()["name"] == creator.get_username()

    assert_problem(reader("DELETE", f"/pauses/{said.json()['id']}"), 403)
    assert writer("DELETE", f"/pauses/{said.json()['id']}").status_code == 204
    assert Run.objects.get(video=video).waiting_reason != "paused"
    assert_problem(writer("DELETE", f"/pauses/{said.json()['id']}"), 404)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "queue", "name": "nowhere"}, "bulk"),
        ({"kind": "all", "name": "x"}, "no name"),
        ({"kind": "creator", "name": "nobody"}, "no such creator"),
        ({"kind": "all", "until": "2000-01-01T00:00:00Z"}, "over"),
        ({"kind": "worker", "name": "1"}, "queue"),
    ],
)
def test_a_pause_of_nothing_is_refused(writer, creator, asked, said):
    creator.user_permissions.set(Permission.objects.filter(codename__endswith="_pause"))

    assert said in str(assert_problem(writer("POST", "/pauses", asked), 422)["errors"])
    assert not Pause.objects.exists()


def test_who_may_not_pause_is_told_so(writer):
    assert_problem(writer("GET", "/pauses"), 403)
    assert_problem(writer("POST", "/pauses", {"kind": "all"}), 403)
    assert_problem(writer("DELETE", "/pauses/1"), 403)


def test_what_postgres_cannot_hold_is_no_reason_to_fail(writer, creator):
    video = completed_video(creator)

    answer = writer("PATCH", f"/videos/{video.pk}", {"title": "A\u0000B"})

    assert (answer.status_code, answer.json()["title"]) == (200, "A\ufffdB")
    upload = {"filename": "a\u0000.mp4", "size": 9, "title": "\u0000"}
    assert writer("POST", "/uploads", upload).status_code == 201
    for asked in ("language=%00", "speaker=%00", "q=%00"):
        assert writer("GET", f"/search?q=hello&mode=text&{asked}").status_code == 200
    assert writer("GET", "/videos?q=%00").status_code == 200


def test_a_line_gets_its_text_and_speaker_together_or_neither(writer, creator, monkeypatch):
    video = spoken_video(creator, ["Hebian learning."])
    segment = Segment.objects.get()

    def taken(video, user, seen, speaker):
        raise Conflict(None)

    monkeypatch.setattr("videos.pipeline.corrections.give_speaker", taken)
    change = {"version": segment.version, "text": "Hebbian learning.", "speaker": "Ada"}

    assert_problem(writer("PATCH", f"/videos/{video.pk}/lines/{segment.pk}", change), 409)
    segment.refresh_from_db()
    assert segment.text == "Hebian learning."


def test_a_delivery_is_sent_once_more_once(writer, creator):
    hook = Webhook.objects.create(creator=creator, url="https://example.com/hook", events=[])
    delivery = WebhookDelivery.objects.create(webhook=hook, event="video/completed", body="{}")
    path = f"/webhooks/{hook.pk}/deliveries/{delivery.pk}/resend"

    first, again = (writer("POST", path, **{"Idempotency-Key": "again"}) for _ in range(2))

    assert (first.status_code, first.json()) == (202, again.json())
    assert hook.deliveries.count() == 2


def test_a_stage_that_does_not_exist_is_refused(writer, creator):
    video = completed_video(creator)

    answer = writer("POST", f"/videos/{video.pk}/reprocess", {"from": "finish"})

    assert "chunk" in assert_problem(answer, 422)["errors"][0]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/videos", 405),
        ("POST", "/videos", 405),
        ("POST", "/videos/null/cancel", 404),
        ("DELETE", "/nothing", 404),
    ],
)
def test_wrong_methods_and_addresses_are_told_as_all_errors_are(creator, method, path, status):
    client = Client(enforce_csrf_checks=True)
    writes = Caller(client, ApiKey.issue(creator, "tests", ApiKey.Scope.WRITE)[1])

    answer = writes(method, path, {})

    assert_problem(answer, status)
    assert status == 404 or "GET" in answer["Allow"]


def test_a_pause_ends_when_it_is_said_with_or_without_a_zone(writer, creator):
    creator.user_permissions.set(Permission.objects.filter(codename__endswith="_pause"))
    asked = {"kind": "queue", "name": "default", "until": "2036-12-01T08:00"}

    assert writer("POST", "/pauses", asked).json()["until"].startswith("2036-12-01T08:00:00")
    over = writer("POST", "/pauses", asked | {"until": "2020-12-01"})
    assert_problem(over, 422)
    assert_problem(writer("POST", "/pauses", {"kind": "creator", "name": "a\u0000"}), 422)
