"""Deleting is durable: what the storage would not delete at once is deleted later."""

from itertools import pairwise
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from tests.conftest import ended, eventually
from videos.durable.sweep import sweep
from videos.models import StorageDeletion, Video

pytestmark = pytest.mark.django_db(transaction=True)


def files_of(video):
    """The names of a video's files, also once its instance was deleted and has no key."""
    media = Path(video.file.storage.location)
    return sorted(path.name for path in media.glob(f"videos/*/{video.known_id}/**/*"))


@pytest.fixture
def upload(upload):
    """An upload that knows its id for good."""

    def create(**fields):
        video = upload(**fields)
        video.known_id = video.pk
        return video

    return create


@pytest.fixture
def storage(monkeypatch):
    """A storage that refuses to delete for as long as it is told so."""
    refusing = [True]
    original = FileSystemStorage.delete

    def delete(self, name):
        if refusing:
            raise ConnectionError("the bucket does not answer\0")
        original(self, name)

    monkeypatch.setattr(FileSystemStorage, "delete", delete)
    return refusing


def test_files_that_the_storage_would_not_delete_are_deleted_later(upload, worker, storage):
    video = ended(upload())
    kept = files_of(video)
    assert len(kept) == 3

    video.delete()

    assert files_of(video) == kept
    assert all("bucket" in row.error for row in StorageDeletion.objects.all())
    storage.clear()
    StorageDeletion.objects.update(next_attempt_at="2000-01-01T00:00Z")
    eventually(lambda: not StorageDeletion.objects.exists())
    assert files_of(video) == []


def test_the_pause_grows_with_each_attempt(upload, storage):
    upload().delete()
    row = StorageDeletion.objects.order_by("pk").first()
    pauses = []
    for _ in range(3):
        row.refresh_from_db()
        pauses.append(row.next_attempt_at)
        StorageDeletion.objects.update(next_attempt_at="2000-01-01T00:00Z")
        sweep()
        eventually(lambda: StorageDeletion.objects.filter(next_attempt_at__year=2000).count() == 0)

    row.refresh_from_db()
    assert row.attempts == 4
    gaps = [(later - at).total_seconds() for at, later in pairwise(pauses)]
    assert gaps[1] > gaps[0] > 4


def test_a_deletion_that_is_rolled_back_deletes_nothing(upload):
    from django.db import transaction

    video = upload()

    with transaction.atomic():
        Video.objects.get(pk=video.pk).delete()
        transaction.set_rollback(True)

    assert files_of(video) == ["source.mp4"]
    assert not StorageDeletion.objects.exists()


def test_a_video_with_another_creator_keeps_its_folder_and_leaves_nothing(
    upload, worker, django_user_model
):
    video = ended(upload())
    bob = django_user_model.objects.create_user("bob")
    folder = video.folder

    video.creator = bob
    video.save()
    video.reprocess(from_stage="transcribe")
    ended(video)

    assert video.folder == folder
    assert len(files_of(video)) == 3
    video.delete()
    assert files_of(video) == []
    assert not list(Path(video.file.storage.location).glob(f"videos/*/{video.known_id}"))


def test_what_an_older_version_stored_under_another_creator_is_deleted_as_well(
    upload, django_user_model
):
    video = upload()
    video.creator = django_user_model.objects.create_user("bob")
    video.save()
    stray = Path(video.file.storage.path(f"videos/{video.creator_id}/{video.pk}/audio.flac"))
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")

    video.delete()

    assert files_of(video) == []
