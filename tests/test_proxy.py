"""A copy that browsers play, of a file that they do not: on demand, once, in the sandbox."""

import subprocess

import imageio_ffmpeg
import pytest
from django.urls import reverse

from tests.conftest import ended, eventually
from videos.audio import ffmpeg, playable
from videos.audio.playable import NotConverted
from videos.models import Run, Video
from videos.pipeline import proxy, replacing


def make(path, *options):
    """Four seconds of pictures and a tone, in another format."""
    subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"),
            *("-f", "lavfi", "-i", "testsrc=s=320x180:d=4", "-f", "lavfi", "-i", "sine=d=4"),
            *(*options, str(path)),
        ],
        check=True,
    )
    return path


@pytest.fixture
def mkv(tmp_path):
    return make(tmp_path / "talk.mkv", "-c:v", "mpeg4", "-c:a", "flac", "-shortest")


def convert(source, target, **options):
    limits = {"has_pictures": True, "cpu_s": 60, "max_bytes": 10**8, **options}
    playable.convert(source, target, **limits)
    return ffmpeg.probe(target)


def test_pictures_and_sound_become_what_browsers_play(mkv, tmp_path):
    found = convert(mkv, tmp_path / "copy.mp4")

    said = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "copy.mp4")],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    assert "Video: h264" in said
    assert "yuv420p" in said
    assert found.tracks[0].codec == "aac"
    assert found.announced_ms == pytest.approx(4_000, abs=100)


def test_sound_alone_stays_sound(tmp_path):
    source = make(tmp_path / "talk.wv", "-vn", "-c:a", "wavpack")

    found = convert(source, tmp_path / "copy.m4a", has_pictures=False)

    assert (found.has_pictures, found.tracks[0].codec) == (False, "aac")


def test_what_is_no_media_or_too_large_is_told(mkv, tmp_path):
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"nothing" * 100)

    with pytest.raises(NotConverted):
        convert(broken, tmp_path / "copy.mp4")
    with pytest.raises(NotConverted):
        convert(mkv, tmp_path / "copy.mp4", max_bytes=1_000)


def test_it_can_be_ended(mkv, tmp_path):
    class Ended(Exception):
        pass

    def check():
        raise Ended

    long = make(tmp_path / "long.mkv", "-c:v", "mpeg4", "-c:a", "flac", "-t", "4")
    with pytest.raises(Ended):
        playable._await(
            subprocess.Popen(["sleep", "30"], stderr=subprocess.PIPE, start_new_session=True),
            check,
        )
    assert long.exists()


database = pytest.mark.django_db(transaction=True)


@database
def test_a_copy_is_made_on_demand_once_and_played(client, creator, upload, mkv, worker):
    video = ended(upload(mkv))
    client.force_login(creator)
    watch = reverse("videos:watch", args=[video.pk])
    assert "Make a version that it plays" in client.get(watch).content.decode()

    for _ in range(2):
        client.post(reverse("videos:playable", args=[video.pk]))

    eventually(lambda: Video.objects.exclude(proxy="").exists())
    assert Run.objects.filter(function="make_proxy").count() == 1
    media = reverse("videos:media", args=[video.pk])
    played = client.get(media, headers={"Range": "bytes=0-99"})
    assert (played.status_code, played["Content-Type"]) == (206, "video/mp4")
    played.close()
    original = client.get(media, {"original": ""})
    assert b"".join(original.streaming_content) == mkv.read_bytes()
    assert 'id="unplayable" class="note" hidden' in client.get(watch).content.decode()
    video.refresh_from_db()
    kept = video.proxy.storage.path(video.proxy.name)
    video.delete()
    eventually(lambda: not video.proxy.storage.exists(kept))


@database
def test_while_it_is_made_the_page_says_so(client, creator, upload, mkv):
    video = upload(mkv)
    client.force_login(creator)

    client.post(reverse("videos:playable", args=[video.pk]))

    page = client.get(reverse("videos:watch", args=[video.pk])).content.decode()
    assert "is being made" in page
    assert proxy.is_being_made(video)


@database
def test_a_file_of_which_none_can_be_made_is_an_error_of_the_run(upload, tmp_path, worker):
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"nothing" * 100)
    video = ended(upload(broken))

    proxy.request(video)

    run = eventually(lambda: Run.objects.filter(function="make_proxy", state="failed").first())
    assert run.error_code == "unreadable_media"


@database
def test_another_file_has_no_use_for_the_old_copy(upload, mkv, clip, worker):
    video = ended(upload(mkv))
    proxy.request(video)
    eventually(lambda: Video.objects.exclude(proxy="").exists())
    video.refresh_from_db()
    before = video.proxy.name
    with clip.open("rb") as other:
        name = video.file.storage.save(f"{video.folder}/other.mp4", other)

    replacing.replace_file(video.pk, name, "other.mp4", 1)

    video.refresh_from_db()
    assert not video.proxy
    eventually(lambda: not video.file.storage.exists(before))


@database
def test_nobody_has_copies_made_of_what_they_may_not_see(client, upload, mkv, django_user_model):
    video = upload(mkv)
    client.force_login(django_user_model.objects.create_user("grace"))

    assert client.post(reverse("videos:playable", args=[video.pk])).status_code == 404
    assert not proxy.is_being_made(video)
