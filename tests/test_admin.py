"""The admin's pages: what they show, what they do, and what they cost in queries."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.rows import completed_video
from videos.models import Call, Event, Run, Video, Worker

pytestmark = pytest.mark.django_db

LISTS = ("video", "run", "event", "call", "worker")


@pytest.fixture
def operator(admin_client):
    return admin_client


def queries_of(client, url):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_costs_as_many_queries_for_thirty_rows_as_for_one(operator, creator, name):
    url = reverse(f"admin:videos_{name}_changelist")
    completed_video(creator)
    operator.get(url)
    one = queries_of(operator, url)

    for _ in range(29):
        completed_video(creator)

    assert queries_of(operator, url) == one


@pytest.mark.parametrize("page", ["change", "transcript", "chunks"])
def test_a_videos_page_costs_the_same_however_long_it_is(operator, creator, page):
    short, long = completed_video(creator, segments=2), completed_video(creator, segments=200)
    operator.get(reverse(f"admin:videos_video_{page}", args=[short.pk]))

    costs = {
        queries_of(operator, reverse(f"admin:videos_video_{page}", args=[video.pk]))
        for video in (short, long)
    }

    assert len(costs) == 1


def test_the_transcript_shows_times_and_escapes_what_was_said(operator, creator):
    video = completed_video(creator, text="<script>alert(1)</script>", start=3725)

    page = operator.get(reverse("admin:videos_video_transcript", args=[video.pk])).content.decode()

    assert "1:02:05" in page
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_reprocess_asks_from_which_stage_and_names_the_cost(operator, creator):
    video = completed_video(creator)
    selected = {"action": "reprocess", "_selected_action": [video.pk]}

    page = operator.post(reverse("admin:videos_video_changelist"), selected).content.decode()

    assert "1 video selected" in page
    assert "$0.0060" in page
    assert not Event.objects.exists()


def test_a_confirmed_reprocess_starts_a_run_from_that_stage(
    operator, creator, django_capture_on_commit_callbacks
):
    video = completed_video(creator)
    chosen = {"action": "reprocess", "_selected_action": [video.pk], "stage": "chunk"}

    with django_capture_on_commit_callbacks(execute=True):
        response = operator.post(reverse("admin:videos_video_changelist"), chosen, follow=True)

    assert "1 of 1 videos are being reprocessed" in response.content.decode()
    assert Run.objects.get(video=video, function="rechunk_video").stage == "chunk"


def test_cancel_stops_waiting_runs(operator, creator):
    video = completed_video(creator)
    video.reprocess(from_stage="embed")
    selected = {"action": "cancel", "_selected_action": [video.pk]}

    operator.post(reverse("admin:videos_video_changelist"), selected)

    assert Video.objects.get().status == "cancelled"


def test_a_preferred_video_goes_before_all_others(operator, creator):
    first, urgent = completed_video(creator), completed_video(creator)
    Worker.objects.all().delete()
    for video in (first, urgent):
        video.reprocess(from_stage="embed")
    selected = {"action": "prefer", "_selected_action": [urgent.pk]}

    operator.post(reverse("admin:videos_video_changelist"), selected)

    ordered = Run.objects.filter(state="waiting").order_by("-priority", "created_at")
    assert [run.video_id for run in ordered] == [urgent.pk, first.pk]


def test_an_upload_through_the_admin_starts_processing(
    operator, creator, clip, django_capture_on_commit_callbacks
):
    with clip.open("rb") as content, django_capture_on_commit_callbacks(execute=True):
        form = {"creator": creator.pk, "file": content, "title": "", "language": "en"}
        response = operator.post(reverse("admin:videos_video_add"), form)

    assert response.status_code == 302, response.context["errors"]
    video = Video.objects.get()
    assert (video.title, video.original_filename) == ("clip", "clip.mp4")
    assert Run.objects.get(video=video).stage == "transcribe"


def test_job_fields_cannot_be_written(operator, creator):
    video = completed_video(creator)
    form = {"title": "New title", "status": "failed", "creator": 99}

    operator.post(reverse("admin:videos_video_change", args=[video.pk]), form)

    video.refresh_from_db()
    assert (video.title, video.status, video.creator) == ("New title", "completed", creator)


@pytest.mark.parametrize("name", ["run", "call", "worker"])
def test_job_rows_can_only_be_read(operator, creator, name):
    completed_video(creator)

    assert operator.get(reverse(f"admin:videos_{name}_add")).status_code == 403


@pytest.mark.parametrize("page", ["change", "transcript", "chunks"])
def test_who_is_no_operator_sees_nothing(client, creator, page):
    video = completed_video(creator)
    client.force_login(creator)

    response = client.get(reverse(f"admin:videos_video_{page}", args=[video.pk]))

    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_staff_without_permission_cannot_read_a_transcript(client, creator, django_user_model):
    video = completed_video(creator)
    client.force_login(django_user_model.objects.create_user("eve", is_staff=True))

    page = client.get(reverse("admin:videos_video_transcript", args=[video.pk]))

    assert page.status_code == 403
    assert Call.objects.exists()


@pytest.mark.parametrize("page", ["videos_video", "auth_user"])
def test_runs_go_with_their_video_or_creator(operator, creator, page):
    video = completed_video(creator)
    target = video.pk if page == "videos_video" else creator.pk

    answer = operator.post(reverse(f"admin:{page}_delete", args=[target]), {"post": "yes"})

    assert answer.status_code == 302
    assert not Video.objects.exists()
    assert not Run.objects.exists()


def test_a_run_is_not_deleted_by_itself(operator, creator):
    completed_video(creator)
    run = Run.objects.get()

    answer = operator.post(reverse("admin:videos_run_delete", args=[run.pk]), {"post": "yes"})

    assert answer.status_code == 403
    assert Run.objects.exists()


# --- Steering ---------------------------------------------------------------------------


def steer(operator, video, action, **more):
    return operator.post(
        reverse("admin:videos_video_changelist"),
        {"action": action, "_selected_action": video.pk, **more},
    )


def told(video):
    entries = LogEntry.objects.filter(object_id=video.pk).order_by("pk")
    return [(entry.user.get_username(), entry.change_message) for entry in entries]


def test_who_did_what_is_in_a_videos_history(operator, creator):
    video = completed_video(creator)

    steer(operator, video, "cancel")
    assert told(video) == [], "nothing was cancelled"
    steer(operator, video, "reprocess", stage="embed")
    steer(operator, video, "prefer")
    steer(operator, video, "cancel")

    assert told(video) == [
        ("admin", "Reprocessed from embed."),
        ("admin", "Moved to the front."),
        ("admin", "Cancelled."),
    ]
    history = operator.get(reverse("admin:videos_video_history", args=[video.pk]))
    assert "Reprocessed from embed." in history.content.decode()


def test_what_is_reprocessed_in_bulk_lets_uploads_go_first(operator, creator):
    one, other, alone = (completed_video(creator) for _ in range(3))

    steer(operator, alone, "reprocess", stage="embed")
    operator.post(
        reverse("admin:videos_video_changelist"),
        {"action": "reprocess", "_selected_action": [one.pk, other.pk], "stage": "embed"},
    )

    active = Run.objects.exclude(state="completed")
    assert dict(active.values_list("video", "priority")) == {one.pk: -1, other.pk: -1, alone.pk: 0}


@pytest.mark.parametrize("name", ["video", "run"])
def test_a_page_has_the_buttons_that_apply(operator, creator, name):
    video = completed_video(creator)

    def page():
        pk = video.pk if name == "video" else video.runs.order_by("-created_at").first().pk
        return operator.get(reverse(f"admin:videos_{name}_change", args=[pk])).content.decode()

    assert 'value="reprocess">Reprocess' in page()
    assert 'value="cancel"' not in page()

    video.reprocess("embed")

    assert 'value="cancel">Cancel' in page()
    assert 'value="reprocess"' not in page()


def test_who_only_looks_has_no_buttons(client, creator):
    video = completed_video(creator)
    creator.is_staff = True
    creator.save()
    creator.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_video", "view_run"])
    )
    client.force_login(creator)

    for name, pk in (("video", video.pk), ("run", video.runs.get().pk)):
        page = client.get(reverse(f"admin:videos_{name}_change", args=[pk])).content.decode()
        assert 'class="steering"' not in page


@pytest.mark.parametrize("page", ["admin:index", "admin:login", "admin:videos_video_add"])
def test_every_page_has_the_icon(operator, page):
    assert "videos/icon.svg" in operator.get(reverse(page), follow=True).content.decode()
