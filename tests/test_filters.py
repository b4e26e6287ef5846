"""By what operators narrow lists, and how much of JSON they are shown."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.rows import completed_video
from videos.admin.shown import folded, masked
from videos.models import Run, Step, Video

pytestmark = pytest.mark.django_db


def failed(creator, code, ago_h=0, **fields):
    video = completed_video(creator)
    Video.objects.filter(pk=video.pk).update(status="failed", error_code=code, **fields)
    ended = timezone.now() - timedelta(hours=ago_h)
    Run.objects.create(
        function="process_video",
        stage="transcribe",
        state="failed",
        error_code=code,
        video=video,
        creator=creator,
        finished_at=ended,
    )
    Run.objects.filter(video=video, state="completed").update(finished_at=ended)
    return video


def listed(client, model, query):
    page = client.get(reverse(f"admin:videos_{model}_changelist") + query)
    assert page.status_code == 200
    return set(page.context["cl"].result_list)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("file", "no_audio"),
        ("configuration", "unauthorized"),
        ("service", "rejected"),
        ("machine", "worker_lost"),
    ],
)
def test_failures_are_told_apart_by_whose_fault_they_are(admin_client, creator, fault, code):
    wanted = failed(creator, code)
    failed(creator, "rejected" if fault == "file" else "too_large")

    assert listed(admin_client, "video", f"?fault={fault}") == {wanted}
    assert {run.video for run in listed(admin_client, "run", f"?fault={fault}")} == {wanted}


def test_what_ended_in_the_last_hour(admin_client, creator):
    fresh, old = failed(creator, "rejected"), failed(creator, "rejected", ago_h=3)

    assert listed(admin_client, "video", "?ended=hour") == {fresh}
    assert listed(admin_client, "video", "?ended=day") == {fresh, old}
    assert {run.video for run in listed(admin_client, "run", "?ended=hour")} == {fresh}


def test_videos_with_warnings_are_found_and_name_them(admin_client, creator):
    warned, quiet = completed_video(creator), completed_video(creator)
    warning = {"code": "low_coverage", "message": "m", "start": None, "end": None}
    Video.objects.filter(pk=warned.pk).update(warnings=[warning])

    assert listed(admin_client, "video", "?warnings=yes") == {warned}
    assert listed(admin_client, "video", "?warnings=no") == {quiet}
    page = admin_client.get(reverse("admin:videos_video_changelist")).content.decode()
    assert "low_coverage" in page


def test_runs_are_found_by_why_they_wait(admin_client, creator):
    row = {"function": "x", "stage": "run", "creator": creator}
    waits = Run.objects.create(waiting_reason="budget", **row)
    Run.objects.create(waiting_reason="paused", **row)

    assert listed(admin_client, "run", "?waiting=budget") == {waits}


def test_json_is_folded_masked_and_ends():
    shown = folded({"api_key": "sk-1", "inner": [{"Password": "p", "monkeys": 3}], "b": "<b>"})

    assert "sk-1" not in shown
    assert "&quot;Password&quot;: &quot;***&quot;" in shown
    assert "&lt;b&gt;" in shown
    assert "characters more" in folded({"long": "x" * 50_000})
    assert folded(None) == "–"
    assert masked({"tokens": 5, "token": "t"}) == {"tokens": 5, "token": "***"}


def test_a_runs_page_shows_input_results_and_what_its_failure_started(admin_client, creator):
    run = Run.objects.create(
        function="x", stage="run", state="failed", creator=creator, data={"name": "Ada"}
    )
    Step.objects.create(run=run, stage="run", key="write", state="done", result={"letter": "Dear"})
    handler = Run.objects.create(function="x.on_failure", stage="run", parent=run)

    page = admin_client.get(reverse("admin:videos_run_change", args=[run.pk])).content.decode()

    assert "&quot;letter&quot;: &quot;Dear&quot;" in page
    assert "&quot;name&quot;: &quot;Ada&quot;" in page
    assert reverse("admin:videos_run_change", args=[handler.pk]) in page
