"""Events: typed, validated, stored once, dispatched on commit."""

import pytest
from django.core import serializers
from django.db import transaction

from videos import events
from videos.durable.dispatch import dispatch
from videos.durable.registry import registry
from videos.exceptions import EventRefused
from videos.models import Event, Run, Video

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_new_video_writes_its_event_and_its_run(upload):
    video = upload(language="de")

    event = Event.objects.get()
    assert event.name == "video/transcribe.requested"
    assert event.data == {
        "video_id": str(video.pk),
        "creator_id": video.creator_id,
        "storage_path": video.file.name,
        "original_filename": "clip.mp4",
        "language": "de",
        "again": False,
        "force": False,
    }
    assert event.dispatched_at
    assert Run.objects.get().waiting_for == {"reason": "capacity", "until": None}


def test_a_rolled_back_video_leaves_no_event(upload):
    with transaction.atomic():
        upload()
        transaction.set_rollback(True)

    assert not Event.objects.exists()


def test_later_saves_and_fixtures_start_nothing(upload):
    video = upload()
    fixture = serializers.serialize("json", [video])
    video.save()
    Video.objects.all().delete()
    before = Event.objects.count()

    for loaded in serializers.deserialize("json", fixture):
        loaded.save()

    assert Video.objects.count() == 1
    assert Event.objects.count() == before == 1


def test_the_same_key_twice_is_one_event(tmp_path):
    data = {"name": "Ada", "diary": str(tmp_path / "diary")}

    first = events.send("letters/greeting.requested", data, key="once")
    second = events.send("letters/greeting.requested", data, key="once")

    assert first == second
    assert Run.objects.count() == 1


def test_an_event_is_dispatched_once(upload):
    upload()

    assert dispatch(Event.objects.get()) == []
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("video/unknown", {}, "name"),
        ("video/completed", {}, "name"),  # emitted, never sent
        ("video/chunk.requested", {}, "video_id"),
        ("video/chunk.requested", {"video_id": "x", "creator_id": 1}, "video_id"),
        ("video/embeddings.batch-reprocess", {"video_ids": []}, "video_ids"),
        ("video/embeddings.batch-reprocess", {"video_ids": [], "x": 1}, "video_ids"),
        ("letters/greeting.requested", {"name": "Ada"}, "diary"),
        ("letters/greeting.requested", {"name": "A", "diary": "d", "extra": 1}, "extra"),
    ],
)
def test_a_wrong_event_is_refused_by_field_and_not_stored(name, data, field):
    with pytest.raises(EventRefused) as refused:
        events.send(name, data)

    assert refused.value.field == field
    assert not Event.objects.exists()


def test_an_event_about_a_foreign_video_is_refused(upload, django_user_model):
    video = upload()
    other = django_user_model.objects.create_user("bob")

    with pytest.raises(EventRefused) as refused:
        events.send("video/chunk.requested", {"video_id": video.pk, "creator_id": other.pk})

    assert refused.value.field == "creator_id"


def test_an_event_that_a_completed_video_needs_no_more_starts_nothing(upload):
    video = upload()
    Run.objects.all().delete()
    Video.objects.update(status="completed")

    event = events.send(
        "video/transcribe.requested",
        Event.objects.get().data,
    )

    assert not event.runs.exists()
    assert Video.objects.get(pk=video.pk).status == "completed"


@pytest.mark.parametrize(
    ("field", "data", "key"),
    [
        ("data", {"name": "a\0b", "diary": "d"}, None),
        ("key", {"name": "a", "diary": "d"}, "k" * 300),
    ],
)
def test_what_postgres_cannot_hold_is_refused_by_field(field, data, key):
    with pytest.raises(EventRefused) as refused:
        events.send("letters/greeting.requested", data, key)

    assert refused.value.field == field
    assert not Event.objects.exists()


def test_subscribing_to_what_is_emitted_does_not_open_it():
    registry.add_type("video/completed", events.VideoCompleted)

    assert registry.types["video/completed"].emitted
    with pytest.raises(EventRefused, match="emitted"):
        events.send("video/completed", {})


def test_one_key_under_two_names_is_two_events(upload):
    video = upload()
    data = {"video_id": video.pk, "creator_id": video.creator_id}

    sent = [
        events.send(name, data, key="the same").pk
        for name in ("video/chunk.requested", "video/embed.requested", "video/embed.requested")
    ]

    assert sent[0] != sent[1] == sent[2]
