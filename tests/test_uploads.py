"""Uploads: by a plain form, and in pieces that go on after a break, to a disk and to a bucket."""

import base64
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db.models.functions import Now
from django.urls import reverse

from tests.conftest import ended
from tests.s3_server import BUCKET, S3Server
from videos.durable.sweep import sweep
from videos.models import Event, Run, StorageDeletion, Upload, Video
from videos.pipeline import pieces, quota, uploads

pytestmark = pytest.mark.django_db(transaction=True)
PIECE = 100
OFFSET_TYPE = "application/offset+octet-stream"
SRT = b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n"


@pytest.fixture(autouse=True)
def _files(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(pieces, "_PIECE_BYTES", PIECE)


@pytest.fixture
def ada(client, creator):
    client.force_login(creator)
    return client


@pytest.fixture
def bucket(settings):
    server = S3Server()
    options = {
        "bucket_name": BUCKET,
        "endpoint_url": f"http://127.0.0.1:{server.port}",
        "access_key": "tests",
        "secret_key": "tests",
        "region_name": "us-east-1",
        "file_overwrite": False,
    }
    storage = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": storage}
    yield server
    server.stop()


def begin(client, size, filename="talk.mp4", **fields):
    return client.post(reverse("videos:begin"), {"filename": filename, "size": size, **fields})


def send(client, address, offset, data):
    return client.patch(
        address, data, content_type=OFFSET_TYPE, headers={"Upload-Offset": str(offset)}
    )


def offset_of(client, address):
    return int(client.head(address)["Upload-Offset"])


def content(video):
    with video.file.open() as file:
        return file.read()


class Breaking:
    """Reads some bytes, then loses its connection."""

    def __init__(self, data, *, breaks=True):
        self.data, self.breaks = data, breaks

    def __call__(self, size):
        if not self.data and self.breaks:
            raise OSError("the connection is gone")
        block, self.data = self.data[:size], self.data[size:]
        return block


def test_a_file_in_pieces_becomes_a_video(ada, creator):
    data = bytes(range(250))
    address = begin(ada, 250, title="A talk", language="de").json()["url"]

    assert send(ada, address, 0, data[:120])["Upload-Offset"] == "120"
    assert not Video.objects.exists()
    done = send(ada, address, 120, data[120:])

    video = Video.objects.get()
    assert (done.status_code, done["Upload-Offset"]) == (204, "250")
    assert (video.title, video.language, video.size_bytes) == ("A talk", "de", 250)
    assert (video.creator, video.original_filename) == (creator, "talk.mp4")
    assert video.file.name == f"videos/{creator.pk}/{video.pk}/source.mp4"
    assert content(video) == data
    assert Event.objects.get().name == "video/transcribe.requested"
    # Whoever did not hear of the end can ask for it.
    assert offset_of(ada, address) == 250
    assert send(ada, address, 250, b"x").status_code == 409
    assert Video.objects.count() == 1


def test_what_has_come_before_a_break_stays(creator):
    upload = uploads.begin(creator, "talk.mp4", 250)

    with pytest.raises(OSError, match="gone"):
        uploads.receive(upload, 0, Breaking(b"a" * 170))

    upload.refresh_from_db()
    assert (upload.offset, upload.writer) == (170, None)
    uploads.receive(upload, 170, Breaking(b"b" * 80, breaks=False))
    assert content(Video.objects.get()) == b"a" * 170 + b"b" * 80


def test_two_that_write_at_once_are_told_apart(ada, creator):
    upload = uploads.begin(creator, "talk.mp4", 250)
    address = reverse("videos:resume", args=[upload.pk])
    Upload.objects.update(writing_until=Now() + timedelta(seconds=20))

    assert send(ada, address, 0, b"a" * 10).status_code == 423
    assert send(ada, address, 9, b"a" * 10).status_code == 409
    Upload.objects.update(writing_until=Now() - timedelta(seconds=1))
    assert send(ada, address, 0, b"a" * 10).status_code == 204


def test_a_writer_that_lost_its_lease_stops(creator):
    upload = uploads.begin(creator, "talk.mp4", 250)

    def read(size):
        Upload.objects.update(writer=None)
        return b"a" * size

    with pytest.raises(uploads.NotHere):
        uploads.receive(upload, 0, read)
    assert Upload.objects.get().offset == 0


def test_bytes_beyond_the_size_are_not_taken(ada):
    address = begin(ada, 120).json()["url"]

    send(ada, address, 0, b"a" * 500)

    assert Video.objects.get().file.size == 120


def test_a_process_that_dies_before_the_video_is_made_costs_nothing(creator, monkeypatch):
    upload = uploads.begin(creator, "talk.mp4", 120)
    with monkeypatch.context() as patched:
        patched.setattr(uploads, "finish", lambda _: None)
        uploads.receive(upload, 0, Breaking(b"a" * 120, breaks=False))
    assert not Video.objects.exists()

    Upload.objects.update(expires_at=Now())
    sweep()

    assert content(Video.objects.get()) == b"a" * 120


def test_a_file_that_the_storage_lost_is_forgotten(creator, monkeypatch):
    upload = uploads.begin(creator, "talk.mp4", 120)
    with monkeypatch.context() as patched:
        patched.setattr(uploads, "finish", lambda _: None)
        uploads.receive(upload, 0, Breaking(b"a" * 120, breaks=False))
    Video._meta.get_field("file").storage.delete(upload.path)
    Upload.objects.update(expires_at=Now())

    uploads.settle_due()

    assert not Upload.objects.exists()
    assert not Video.objects.exists()


def test_half_done_uploads_expire_and_leave_nothing(creator, tmp_path):
    captions = ContentFile(SRT, name="a.srt")
    upload = uploads.begin(creator, "talk.mp4", 250, captions=captions)
    uploads.receive(upload, 0, Breaking(b"a" * 150, breaks=False))
    assert upload.expires_at.timestamp() > upload.created_at.timestamp() + 6 * 86_400
    Upload.objects.update(expires_at=Now())

    sweep()

    assert not Upload.objects.exists()
    assert not StorageDeletion.objects.exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_finished_upload_is_forgotten_and_its_video_stays(ada):
    address = begin(ada, 5).json()["url"]
    send(ada, address, 0, b"hello")
    Upload.objects.update(expires_at=Now())

    uploads.settle_due()

    assert not Upload.objects.exists()
    assert content(Video.objects.get()) == b"hello"


def test_an_upload_can_be_removed(ada, tmp_path):
    address = begin(ada, 250).json()["url"]
    send(ada, address, 0, b"a" * 150)

    assert ada.delete(address).status_code == 204

    assert ada.head(address).status_code == 404
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bucket_takes_pieces_and_no_smaller_ones(ada, creator, bucket, monkeypatch):
    # A bucket's own limit, 5 MiB, is what it is.
    piece = 5 * 1024**2
    monkeypatch.setattr(pieces, "_PIECE_BYTES", piece)
    data = b"abcd" * (piece // 4) + b"end"
    address = begin(ada, len(data)).json()["url"]

    refused = send(ada, address, 0, data[:1000])
    assert (refused.status_code, str(piece) in refused.content.decode()) == (400, True)
    # What is more than a piece is asked for again.
    assert send(ada, address, 0, data[: piece + 1])["Upload-Offset"] == str(piece)
    assert send(ada, address, piece, data[piece:])["Upload-Offset"] == str(len(data))

    video = Video.objects.get()
    assert bucket.keys() == [video.file.name]
    assert content(video) == data
    # A word that got lost does no harm.
    upload = Upload.objects.get()
    pieces.pieces_of(video.file.storage).complete(upload.path, upload.storage_state, upload.size)


def test_a_removed_upload_leaves_nothing_in_the_bucket(ada, bucket):
    address = begin(ada, 250).json()["url"]
    send(ada, address, 0, b"a" * PIECE)

    ada.delete(address)

    listed = bucket.client.list_multipart_uploads(Bucket=BUCKET)
    assert (listed.get("Uploads", []), bucket.keys()) == ([], [])


@pytest.mark.parametrize(
    ("filename", "size", "said"),
    [
        ("talk.exe", 100, "neither a video nor a recording"),
        ("talk", 100, "neither a video nor a recording"),
        ("talk.mp4", 0, "is empty"),
        ("talk.mp4", 10**9, "is the most"),
        ("talk.mp4", 3_000, "there is room for"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_its_first_byte(ada, settings, filename, size, said):
    settings.CHRONOS_MAX_UPLOAD_BYTES = 10**8
    settings.CHRONOS_CREATOR_QUOTA_BYTES = 2_000

    answer = begin(ada, size, filename)

    assert answer.status_code == 400
    assert said in answer.json()["errors"]["recordings"][0]["message"]
    assert not Upload.objects.exists()


def test_half_done_uploads_and_videos_count_toward_the_quota(creator, settings):
    settings.CHRONOS_CREATOR_QUOTA_BYTES = 1_000
    Video.objects.create(creator=creator, file=ContentFile(b"a" * 300, name="a.mp4"))
    uploads.begin(creator, "b.mp4", 500)

    assert quota.room(creator) == quota.Room(800, 1_000)
    with pytest.raises(ValidationError, match="room"):
        uploads.begin(creator, "c.mp4", 201)
    uploads.begin(creator, "c.mp4", 200)


def test_clients_of_tus_begin_by_headers(ada):
    def said(**metadata):
        return ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()
        )

    address = reverse("videos:begin")
    headers = {"Upload-Length": "5", "Upload-Metadata": said(filename="ä.mp3", title="Ä")}
    begun = ada.post(address, headers=headers)
    assert (begun.status_code, begun["Tus-Resumable"]) == (201, "1.0.0")
    assert send(ada, begun["Location"], 0, b"hello").status_code == 204
    assert Video.objects.get().title == "Ä"

    assert ada.options(address)["Tus-Extension"] == "creation,expiration,termination"
    for broken in ({"Upload-Length": "x"}, {"Upload-Length": "5", "Upload-Metadata": "a %"}):
        assert ada.post(address, headers=broken).status_code == 400
    large = {"Upload-Length": str(10**15), "Upload-Metadata": said(filename="a.mp4")}
    assert ada.post(address, headers=large).status_code == 413


def test_an_upload_is_its_creators_alone(client, ada, django_user_model):
    address = begin(ada, 250).json()["url"]
    client.force_login(django_user_model.objects.create_user("grace"))

    assert client.head(address).status_code == 404
    assert send(client, address, 0, b"a").status_code == 404
    assert client.delete(address).status_code == 404
    client.logout()
    assert client.head(address).status_code == 403


def nobody(user):
    return False


def test_the_policy_says_who_may_upload(ada, settings):
    settings.CHRONOS_UPLOAD_POLICY = "tests.test_uploads.nobody"

    assert ada.get(reverse("videos:upload")).status_code == 403
    assert begin(ada, 100).status_code == 403
    assert reverse("videos:upload") not in ada.get("/").content.decode()


def test_tokens_against_forgery_are_asked_for(client, creator):
    client.handler.enforce_csrf_checks = True
    client.force_login(creator)
    upload = uploads.begin(creator, "talk.mp4", 250)
    address = reverse("videos:resume", args=[upload.pk])

    assert begin(client, 100).status_code == 403
    assert send(client, address, 0, b"a").status_code == 403
    assert client.delete(address).status_code == 403


def test_a_plain_form_takes_several_files(ada):
    files = [ContentFile(b"one", name="one.mp4"), ContentFile(b"two!", name="two.mp3")]

    answer = ada.post(reverse("videos:upload"), {"recordings": files, "language": "en"})

    assert answer.status_code == 302
    stored = Video.objects.values_list("title", "size_bytes", "language")
    assert sorted(stored) == [("one", 3, "en"), ("two", 4, "en")]


def test_a_plain_form_says_what_is_wrong_and_stores_nothing(ada, settings, tmp_path):
    settings.CHRONOS_CREATOR_QUOTA_BYTES = 6
    files = [ContentFile(b"one", name="one.mp4"), ContentFile(b"two2", name="two.mp3")]

    together = ada.post(reverse("videos:upload"), {"recordings": files})
    kind = ada.post(reverse("videos:upload"), {"recordings": ContentFile(b"x", name="<b>.exe")})
    small = [ContentFile(b"a", name=name) for name in ("a.mp4", "b.mp4")]
    titled = ada.post(reverse("videos:upload"), {"recordings": small, "title": "Both"})
    none = ada.post(reverse("videos:upload"), {})

    assert "no room for all of these" in together.content.decode()
    assert "&lt;b&gt;.exe is neither a video" in kind.content.decode()
    assert [each.status_code for each in (together, kind, titled, none)] == [400] * 4
    assert "Only for one file at a time" in titled.content.decode()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_captions_come_along(ada, creator, clip, worker):
    data = clip.read_bytes()
    captions = ContentFile(SRT, name="talk.srt")
    address = begin(ada, len(data), captions=captions).json()["url"]

    send(ada, address, 0, data)

    video = ended(Video.objects.get())
    assert (video.status, video.error) == ("completed", "")
    segment = video.revision.transcript.segments.get()
    assert segment.text == "Hello."
    with video.thumbnail.open() as picture:
        assert picture.read().startswith(b"\xff\xd8")
    bad = begin(ada, 100, captions=ContentFile(b"nothing", name="a.srt"))
    assert "cannot be used" in bad.json()["errors"]["captions"][0]["message"]


def test_the_page_shows_what_is_half_done_and_how_much_room_there_is(ada, creator, settings):
    settings.CHRONOS_CREATOR_QUOTA_BYTES = 10 * 1024**2
    upload = uploads.begin(creator, "lesson <1>.mp4", 1024**2)
    uploads.receive(upload, 0, Breaking(b"a" * 1024 * 256, breaks=False))

    page = ada.get(reverse("videos:upload")).content.decode()

    assert "choose lesson &lt;1&gt;.mp4 again" in page
    assert 'value="262144" max="1048576"' in page
    assert "1.0\xa0MB of 10.0\xa0MB are used" in page


def test_another_file_takes_the_place_of_the_first(ada, upload, clip, worker, tmp_path):
    video = ended(upload())
    before = {"file": video.file.name, "audio": video.transcripts.get().audio}
    data = clip.read_bytes() + b"\0" * 10
    address = begin(ada, len(data), "second.mp4", replaces=video.pk).json()["url"]

    send(ada, address, 0, data)

    runs = video.runs.order_by("created_at")
    again = ended(video)
    assert (again.status, again.original_filename) == ("completed", "second.mp4")
    assert content(again) == data
    assert runs.last().state == Run.State.COMPLETED
    assert runs.count() == 2
    assert again.size_bytes == len(data)
    assert not (tmp_path / before["file"]).exists()
    assert not (tmp_path / before["audio"]).exists()
    assert Video.objects.count() == 1


def test_nobody_replaces_the_file_of_another(ada, django_user_model):
    grace = django_user_model.objects.create_user("grace")
    theirs = Video.objects.create(creator=grace, file=ContentFile(b"a", name="a.mp4"))

    assert begin(ada, 100, replaces=theirs.pk).status_code == 404
    assert begin(ada, 100, replaces="x").status_code == 403
