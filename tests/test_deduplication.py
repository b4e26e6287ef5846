"""The same content is not paid for twice."""

import errno
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.urls import reverse

from tests.conftest import ended, eventually
from videos.durable.claims import Claim
from videos.models import Call, Run
from videos.pipeline import storage
from videos.pipeline.transcribe import deduplication

pytestmark = pytest.mark.django_db(transaction=True)


def texts(video):
    return list(video.revision.transcript.segments.values_list("start", "end", "text"))


def test_an_equal_upload_takes_over_the_transcript(upload, worker, openai):
    first = ended(upload())
    second = ended(upload())

    assert second.status == "completed"
    assert texts(second) == texts(first)
    assert (len(openai.transcribed()), len(openai.embedded())) == (1, 1)
    assert set(Call.objects.values_list("video_id", flat=True)) == {first.pk}


def test_equal_uploads_at_once_are_transcribed_once(upload, openai, request):
    videos = [upload() for _ in range(3)]
    request.getfixturevalue("worker")

    assert {ended(video).status for video in videos} == {"completed"}
    assert len(openai.transcribed()) == 1


def test_an_equal_upload_says_what_it_waits_for(upload, openai, request, client):
    openai.gate.clear()
    videos = [upload() for _ in range(2)]
    request.getfixturevalue("worker")
    run = eventually(lambda: Run.objects.filter(state="waiting", holds_slot=True).first())
    client.force_login(run.creator)

    page = client.get(reverse("videos:library")).content.decode()
    openai.gate.set()

    assert page.count("another video of the same file is transcribed first") == 1
    assert {ended(video).status for video in videos} == {"completed"}


def test_an_equal_upload_has_stored_audio_of_its_own(upload, worker, openai):
    first, second = ended(upload()), ended(upload())
    second.file.storage.delete(second.file.name)
    first.delete()

    second.reprocess(from_stage="transcribe")

    assert ended(second).status == "completed"
    assert len(openai.transcribed()) == 2


def test_an_equal_upload_is_transcribed_itself_if_the_other_is_deleted_meanwhile(
    upload, worker, openai, monkeypatch
):
    first = ended(upload())

    def find_and_delete(*arguments):
        found = find(*arguments)
        if found is not None:
            first.delete()
        return found

    find = deduplication.find
    monkeypatch.setattr(deduplication, "find", find_and_delete)

    assert ended(upload()).status == "completed"
    assert len(openai.transcribed()) == 2


def test_another_creators_equal_upload_is_their_own(upload, worker, openai, django_user_model):
    ended(upload())
    ended(upload(creator=django_user_model.objects.create_user("bob")))

    assert len(openai.transcribed()) == 2


def test_another_language_is_transcribed_anew(upload, worker, openai):
    ended(upload())
    ended(upload(language="de"))

    assert len(openai.transcribed()) == 2


def test_force_pays_again_for_transcript_and_vectors(upload, worker, openai):
    video = ended(upload())
    openai.calls.clear()

    video.reprocess(from_stage="chunk", force=True)

    assert ended(video).status == "completed"
    assert (len(openai.transcribed()), len(openai.embedded())) == (0, 1)


def test_stored_audio_that_cannot_be_read_is_made_again(upload, worker, openai):
    video = ended(upload())
    kept = video.transcripts.get().audio
    with video.file.storage.open(kept, "wb") as emptied:
        emptied.write(b"")

    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "completed", video.error
    assert video.transcripts.get().audio != kept


def test_a_storage_that_fails_halfway_leaves_no_half_audio(upload, worker, monkeypatch):
    failures = iter([True, True])
    save = FileSystemStorage._save

    def fail_halfway(self, name, content):
        if "audio-" in name and next(failures, False):
            save(self, name, ContentFile(b"half"))
            raise OSError(errno.EIO, "I/O error")
        return save(self, name, content)

    monkeypatch.setattr(FileSystemStorage, "_save", fail_halfway)

    video = ended(upload())

    assert video.status == "completed", video.error
    _, names = video.file.storage.listdir(video.folder)
    assert [name for name in names if name.startswith("audio-")] == [
        Path(video.transcripts.get().audio).name
    ]


def test_audio_that_another_run_is_about_to_note_stays(upload):
    video = upload()
    run = video.runs.get()
    files = video.file.storage
    names = [
        files.save(f"{video.folder}/audio-{owner}-{token}.flac", ContentFile(b"x"))
        for owner, token in ((run.pk, 1), (run.pk, 3), (uuid4(), 1))
    ]
    Run.objects.filter(pk=run.pk).update(token=2)
    own, other = Claim(Run.objects.get(pk=run.pk), "transcribe", 60), Run(pk=uuid4())

    storage.delete_orphans(own, video)
    assert [files.exists(name) for name in names] == [False, True, False]

    storage.delete_orphans(Claim(other, "transcribe", 60), video)
    assert files.exists(names[1])
