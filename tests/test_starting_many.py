"""Many videos are started by as many statements as a few; one costs no other its run."""

import threading
from contextlib import closing

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import eventually
from tests.rows import completed_video
from tests.test_runs import waits_for_a_lock
from videos.durable import admission
from videos.durable.dispatch import dispatch, dispatching_together
from videos.models import Event, Revision, Run, SetAside, Step, Video
from videos.pipeline import statuses, steering

pytestmark = pytest.mark.django_db(transaction=True)


def statements(act):
    with CaptureQueriesContext(connection) as captured:
        act()
    return [query["sql"] for query in captured]


@pytest.mark.parametrize("stage", ["transcribe", "chunk", "embed"])
def test_many_are_begun_again_by_as_many_statements_as_few(creator, stage):
    few = [completed_video(creator) for _ in range(2)]
    many = [completed_video(creator) for _ in range(12)]

    with admission.admitting_once():
        of_few = statements(lambda: steering.reprocess_all(few, stage))
        of_many = statements(lambda: steering.reprocess_all(many, stage))

    assert len(of_many) == len(of_few)
    assert Run.objects.filter(state__in=["waiting", "queued"]).count() == 14
    assert set(Video.objects.values_list("status", flat=True)) == {"pending"}


def test_many_resume_where_each_has_failed(creator):
    videos = [completed_video(creator) for _ in range(3)]
    Video.objects.update(status="failed")
    for video in videos[1:]:
        video.runs.update(state="failed", stage="embed", revision=video.revision)
    Step.objects.create(run=videos[1].runs.get(), stage="embed", key="batch", state="done")
    Video.objects.filter(pk=videos[0].pk).update(status="completed")
    asked = list(Video.objects.order_by("created_at"))

    begun, left_out = steering.reprocess_all(asked, None)

    assert {(run.video_id, run.stage) for run in begun} == {
        (video.pk, "embed") for video in videos[1:]
    }
    done = {run.video_id: run.steps.filter(state="done").count() for run in begun}
    assert done[videos[1].pk] == done[videos[2].pk] + 1
    assert len(left_out) == 1
    assert "say from which stage" in left_out[0]


def test_one_that_cannot_be_started_costs_the_others_nothing(creator):
    videos = [completed_video(creator) for _ in range(5)]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_video() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'poisoned'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse_video BEFORE INSERT ON videos_run FOR EACH ROW "
            f"WHEN (NEW.video_id = '{videos[3].pk}') EXECUTE FUNCTION refuse_video()"
        )
    try:
        begun, left_out = steering.reprocess_all(videos, "embed")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse_video ON videos_run; DROP FUNCTION refuse_video()")

    assert {run.video for run in begun} == set(videos) - {videos[3]}
    assert "set aside" in left_out[0]
    assert "poisoned" in left_out[0]
    assert SetAside.objects.get().function == "reembed_video"


def test_of_two_events_about_a_video_the_second_finds_the_first(creator):
    video = completed_video(creator)
    data = {"video_id": str(video.pk), "creator_id": video.creator_id}
    events = [
        Event.objects.create(name="video/embed.requested", data=data, video_id=video.pk)
        for _ in range(2)
    ]

    begun = dispatch(*events)

    assert [run.event for run in begun] == events[:1]
    assert not Event.objects.filter(dispatched_at=None).exists()


def test_uploads_of_a_block_are_dispatched_together(creator):
    def upload_all(count):
        with dispatching_together():
            for number in range(count):
                file = ContentFile(b"x", name=f"{number}.mp4")
                Video.objects.create(creator=creator, file=file)

    said = statements(lambda: upload_all(6))

    assert Run.objects.count() == 6
    taken = [each for each in said if "SET dispatched_at" in each]
    assert len(taken) == 1
    assert sum('INSERT INTO "videos_revision"' in each for each in said) == 1


def test_what_was_put_in_force_while_a_video_was_waited_for_is_seen(creator):
    video = completed_video(creator)
    newer = Revision.objects.create(
        video=video, transcript=video.revision.transcript, chunked_at=timezone.now()
    )
    begun = []

    def reprocess():
        try:
            begun.extend(steering.reprocess_all([video], "embed")[0])
        finally:
            connection.close()

    with transaction.atomic():
        Video.objects.filter(pk=video.pk).update(revision=newer)
        thread = threading.Thread(target=reprocess)
        thread.start()
        eventually(waits_for_a_lock)
    thread.join()

    assert [run.revision for run in begun] == [newer]


def test_a_database_that_is_lost_sets_no_event_aside(creator, monkeypatch):
    """As while Postgres ends the connection in the middle of the COPY."""
    video = completed_video(creator)
    data = {"video_id": str(video.pk), "creator_id": video.creator_id}
    event = Event.objects.create(name="video/embed.requested", data=data, video_id=video.pk)
    requested = statuses.requested

    def end_the_connection(*given):
        requested(*given)
        ours = connection.connection.info.backend_pid
        other = connections.create_connection("default")
        with closing(other), other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [ours])

    monkeypatch.setattr(statuses, "requested", end_the_connection)

    with pytest.raises(OperationalError):
        dispatch(event)

    connection.close()
    assert not SetAside.objects.exists()
    assert Event.objects.get().dispatched_at is None


def test_an_error_while_events_are_dispatched_together_is_left_to_the_sweep(creator, monkeypatch):
    monkeypatch.setattr("videos.durable.dispatch.dispatch", lambda *events: 1 / 0)
    with dispatching_together():
        Video.objects.create(creator=creator, file=ContentFile(b"x", name="a.mp4"))

    assert Event.objects.get().dispatched_at is None
