"""Videos in a bucket: streamed both ways, retried where the line breaks, opened by signed URLs."""

import urllib.parse
import urllib.request

import pytest

from tests.conftest import ended
from tests.media import make_video
from tests.s3_server import BUCKET, BreakingLine, S3Server
from videos.models import Step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server():
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def line(server, settings):
    """The storage of this test is the bucket, at the end of a line that can break."""
    line = BreakingLine(server.port)
    storage = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": BUCKET,
            "endpoint_url": line.url,
            "access_key": "tests",
            "secret_key": "tests",
            "region_name": "us-east-1",
            "file_overwrite": False,
        },
    }
    settings.STORAGES = {**settings.STORAGES, "default": storage}
    yield line
    line.stop()


def test_a_video_in_a_bucket_is_processed_and_its_audio_stored_there(upload, line, server, worker):
    video = ended(upload())

    assert (video.status, video.error) == ("completed", "")
    audio = video.transcripts.get().audio
    assert sorted(server.keys()) == sorted([video.file.name, audio, video.thumbnail.name])

    video.delete()
    assert server.keys() == []


def test_a_line_that_breaks_halfway_costs_a_retry(upload, line, worker, tmp_path):
    video = upload(make_video(tmp_path / "clip.mp4", 8))
    ended(video)
    line.cut_after = video.file.size // 2

    video.reprocess(from_stage="transcribe", force=True)
    ended(video)

    assert line.broken == 1
    assert (video.status, video.error) == ("completed", "")
    assert Step.objects.filter(key="audio").order_by("-id")[0].failures == 1


def test_reprocessing_reads_the_stored_audio_alone(upload, line, server, worker):
    video = ended(upload())
    server.client.delete_object(Bucket=BUCKET, Key=video.file.name)

    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "completed"


def test_an_object_that_is_gone_is_told(upload, line, server, worker):
    video = ended(upload())
    server.client.delete_object(Bucket=BUCKET, Key=video.file.name)

    video.reprocess(from_stage="transcribe", force=True)

    assert ended(video).error_code == "missing_file"


def test_a_browser_is_sent_to_a_signed_address(upload, line, worker, admin_client, clip):
    video = ended(upload())
    page = f"/admin/videos/video/{video.pk}/"
    assert f"{page}media/" in admin_client.get(f"{page}change/").content.decode()

    address = admin_client.get(f"{page}media/")["Location"]

    query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    assert {"X-Amz-Signature", "X-Amz-Expires"} <= set(query) or "Signature" in query
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == clip.read_bytes()
