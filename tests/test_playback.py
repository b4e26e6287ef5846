"""The file behind a transcript's times, as a browser asks for it."""

import pytest
from django.urls import reverse

pytestmark = pytest.mark.django_db


def address(video):
    return reverse("admin:videos_video_media", args=[video.pk])


def body(response):
    return b"".join(response.streaming_content)


@pytest.fixture
def play(admin_client):
    """Ask for a video's file; what nobody reads is closed at the end."""
    answers = []

    def ask(video, method="get", **headers):
        answers.append(getattr(admin_client, method)(address(video), headers=headers))
        return answers[-1]

    yield ask
    for answer in answers:
        answer.close()


def test_a_file_is_played_from_wherever_the_browser_seeks(upload, play, clip):
    video = upload()

    whole = play(video)
    middle = play(video, Range="bytes=1000-1999")
    rest = play(video, Range="bytes=-500")
    beyond = play(video, Range="bytes=999999999-")

    content = clip.read_bytes()
    assert (whole.status_code, whole["Content-Type"]) == (200, "video/mp4")
    assert whole["Accept-Ranges"] == "bytes"
    assert body(whole) == content
    assert (middle.status_code, body(middle)) == (206, content[1000:2000])
    assert middle["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    assert (middle["Content-Length"], body(rest)) == ("1000", content[-500:])
    assert beyond.status_code == 416
    assert body(play(video, Range="bytes=0-0"))[:1] == content[:1]


def test_an_unchanged_file_is_not_sent_again(upload, play):
    video = upload()
    tag = play(video)["ETag"]

    assert play(video, **{"If-None-Match": tag}).status_code == 304
    assert play(video, "head").status_code == 200


def test_a_page_that_was_uploaded_as_a_video_is_no_page(upload, play, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>alert(1)</script>")

    answer = play(upload(page))

    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_deleted_file_is_not_found(upload, play):
    video = upload()
    video.file.storage.delete(video.file.name)

    assert play(video).status_code == 404


def test_only_those_who_may_view_videos_may_play_them(upload, client, django_user_model):
    video = upload()
    client.force_login(django_user_model.objects.create_user("eve", is_staff=True))

    assert client.get(address(video)).status_code == 403
