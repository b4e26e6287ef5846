"""A person's captions: taken in place of recognition, and never overwritten by a machine's."""

import json

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from tests.conftest import ended
from tests.media import make_mute
from videos.models import Call, Segment, Video
from videos.search import search

pytestmark = pytest.mark.django_db(transaction=True)

VTT = """WEBVTT

00:01.000 --> 00:03.000
<v Ada>Welcome to the course.

00:04.000 --> 00:20.000
This goes past the end.
"""


def captions(text=VTT, name="captions.vtt"):
    return ContentFile(text.encode(), name=name)


def said(video):
    segments = Segment.objects.filter(transcript=video.revision.transcript).order_by("index")
    return [(segment.start, segment.end, segment.text, segment.speaker) for segment in segments]


EXPECTED = [
    (1.0, 3.0, "Welcome to the course.", "Ada"),
    (4.0, 20.0, "This goes past the end.", ""),
]


def test_captions_take_the_place_of_recognition(upload, worker, openai):
    video = ended(upload(captions=captions(), language="en"))

    assert (video.status, video.error) == ("completed", "")
    assert said(video) == EXPECTED
    assert openai.transcribed() == []
    assert not Call.objects.filter(service="transcription").exists()
    assert video.coverage is None
    assert video.warnings == []


def test_captions_that_begin_after_the_end_are_kept_and_told(upload, worker):
    longer = VTT + "\n00:30.000 --> 00:32.000\nOf another video.\n"

    video = ended(upload(captions=captions(longer)))

    assert said(video) == [*EXPECTED, (30.0, 32.0, "Of another video.", "")]
    assert [(told["code"], told["start"]) for told in video.warnings] == [("suspicious_text", 30)]


def test_processing_again_reads_them_again(upload, worker, openai):
    video = ended(upload(captions=captions()))

    video.reprocess(from_stage="transcribe", force=True)
    ended(video)

    assert said(video) == EXPECTED
    assert openai.transcribed() == []


def test_a_silent_film_may_have_captions(upload, worker, tmp_path):
    video = ended(upload(make_mute(tmp_path / "mute.mp4"), captions=captions()))

    assert video.status == "completed"


def test_captions_that_cannot_be_read_fail_and_say_in_which_line(upload, worker):
    video = ended(upload(captions=captions("1\n00:00:02,000 --> never\nHello\n")))

    assert (video.status, video.error_code) == ("failed", "unreadable_captions")
    assert "Line 2" in video.error


def ingest(*arguments):
    call_command("ingest", *map(str, arguments))


def test_the_command_takes_captions(creator, worker, clip, tmp_path, capsys):
    path = tmp_path / "lecture.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")

    ingest(clip, "--creator", "ada", "--captions", path, "--wait", "--json")

    (video,) = json.loads(capsys.readouterr().out)["videos"]
    assert video["status"] == "completed"
    assert said(Video.objects.get()) == [(1.0, 2.0, "Hello", "")]


def test_the_command_refuses_bad_captions_and_stores_nothing(creator, clip, tmp_path, capsys):
    path = tmp_path / "bad.srt"
    path.write_text("nothing of the kind")

    with pytest.raises((CommandError, SystemExit)):
        ingest(clip, "--creator", "ada", "--captions", path, "--json")

    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["field"]) == ("unreadable_captions", "captions")
    assert not Video.objects.exists()


def test_the_upload_form_takes_them_and_refuses_bad_ones(admin_client, creator, clip):
    def add(text):
        with clip.open("rb") as file:
            form = {"creator": creator.pk, "file": file, "captions": captions(text), "title": "A"}
            return admin_client.post("/admin/videos/video/add/", form)

    refused = add("nothing of the kind")
    assert "neither SubRip nor WebVTT" in refused.content.decode()
    assert not Video.objects.exists()

    assert add(VTT).status_code == 302
    assert Video.objects.get().captions.name.endswith("/captions")


def test_deleting_the_video_deletes_them(upload, worker):
    video = ended(upload(captions=captions()))
    storage, name = video.file.storage, video.captions.name

    video.delete()

    assert not storage.exists(name)


def test_a_cue_of_a_whole_book_becomes_segments_and_can_be_searched(upload, worker, creator):
    book = " ".join(f"sunlight{number:026}" for number in range(35_000))
    text = f"WEBVTT\n\n00:00.000 --> 00:08.000\n{book} sunlight\n"

    video = ended(upload(captions=captions(text)))

    segments = said(video)
    assert " ".join(text for _, _, text, _ in segments) == f"{book} sunlight"
    assert max(len(text) for _, _, text, _ in segments) <= 2_000
    assert [start for start, *_ in segments] == sorted(start for start, *_ in segments)
    assert search("sunlight", Video.objects.all(), mode="text")[0].end == 8.0


def test_captions_do_not_lengthen_the_video(upload, worker):
    later = VTT + "\n99:00:00.000 --> 99:00:01.000\nA wrong time.\n"

    assert ended(upload(captions=captions(later))).duration_s == pytest.approx(8, abs=0.2)


def test_equal_texts_are_embedded_once_in_a_call(upload, worker, openai):
    cues = "".join(
        f"00:{number:02}.000 --> 00:{number + 1:02}.000\n{'water ' * 25}\n\n"
        for number in range(40)
    )

    ended(upload(captions=captions(f"WEBVTT\n\n{cues}")))

    (call,) = openai.embedded()
    assert len(call.inputs) == len(set(call.inputs)) == 3


@pytest.mark.parametrize(("given", "stored"), [("", "de"), ("en", "en")])
def test_the_language_in_a_header_counts_unless_the_video_has_one(upload, worker, given, stored):
    text = VTT.replace("WEBVTT\n", "WEBVTT\nKind: captions\nLanguage: de-AT\n")

    video = ended(upload(captions=captions(text), language=given))

    assert (video.status, video.detected_language) == ("completed", stored)
