"""What operators do to runs: many videos at once, stopping, hurrying, running again from a step."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from tests.conftest import ended_run, eventually
from tests.rows import completed_video
from tests.test_commands import manage
from videos import events
from videos.durable import interventions, runs
from videos.models import Event, Run, Step, Video
from videos.pipeline import bulk

pytestmark = pytest.mark.django_db(transaction=True)


def greet(tmp_path, **fields):
    data = {"name": "Ada", "diary": str(tmp_path / "diary"), **fields}
    return events.send("letters/greeting.requested", data).runs.get()


def completed(creator, count):
    return [completed_video(creator) for _ in range(count)]


def test_many_videos_are_steered_by_a_run_of_their_own(creator, worker, openai):
    videos = completed(creator, 3)
    (run,) = bulk.start([video.pk for video in videos], "reprocess", from_stage="embed", by="me")

    assert ended_run(run).state == "completed"

    (step,) = run.steps.all()
    assert step.key == "1 to 3 of 3"
    assert step.result == {"begun": 3, "left_out": 0, "why": []}
    started = Run.objects.filter(function="reembed_video")
    assert {each.video for each in started} == set(videos)
    eventually(lambda: not started.exclude(state="completed").exists())


def test_what_is_tried_again_begins_nothing_twice(creator):
    (video,) = completed(creator, 1)
    data = bulk.SteerRequested(action="reprocess", video_ids=[video.pk], from_stage="embed")
    run_id = video.pk

    assert bulk._steer(run_id, data, data.video_ids)["begun"] == 1
    Run.objects.update(state="completed", holds_slot=False)
    assert bulk._steer(run_id, data, data.video_ids)["begun"] == 1

    assert Event.objects.filter(name="video/embed.requested").count() == 1
    assert Run.objects.filter(video=video, function="reembed_video").count() == 1


def test_what_cannot_be_steered_is_left_out_and_named(creator, worker):
    (video,) = completed(creator, 1)
    (run,) = bulk.start([video.pk, run_id_of_nobody()], "reprocess")

    assert ended_run(run).state == "completed"

    result = run.steps.get().result
    assert (result["begun"], result["left_out"]) == (0, 2)
    assert "say from which stage" in result["why"][0]


def run_id_of_nobody():
    return Run(function="x").pk


def test_a_pace_is_kept_without_a_thread_or_a_slot(creator, worker):
    videos = completed(creator, 2)
    (run,) = bulk.start(
        [video.pk for video in videos], "reprocess", from_stage="embed", per_minute=1
    )

    eventually(lambda: Run.objects.get(pk=run.pk).waiting_reason == "asleep")

    run.refresh_from_db()
    assert not run.holds_slot
    assert run.attempt == 0
    assert Run.objects.filter(function="reembed_video").count() == 1
    left = run.next_attempt_at - timezone.now()
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)

    # A minute later, as far as the run can tell.
    Step.objects.filter(run=run, key="pause after 1").update(
        started_at=timezone.now() - timedelta(minutes=1)
    )
    manage("run_now", run.pk)

    assert ended_run(run).state == "completed"
    assert Run.objects.filter(function="reembed_video").count() == 2


def test_thousands_are_parted_among_runs(creator, monkeypatch):
    monkeypatch.setattr(bulk, "_MAX_VIDEOS", 2)
    videos = completed(creator, 3)

    runs = bulk.start([video.pk for video in videos], "cancel")

    assert [len(run.data["video_ids"]) for run in runs] == [2, 1]


def test_the_command_leaves_many_to_a_run(creator):
    completed(creator, 2)

    document = manage(
        *("reprocess", "--all", "--from", "embed", "--bulk", "--per-minute", "60", "--json")
    )

    (run,) = Run.objects.filter(function="steer_videos")
    assert document["runs"] == [str(run.pk)]
    assert document["videos"] == 2
    assert run.data["per_minute"] == 60
    manage("cancel", "--run", run.pk)
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_the_admin_leaves_many_to_a_run(admin_client, creator, monkeypatch):
    monkeypatch.setattr("videos.admin.steering._AT_ONCE", 1)
    videos = completed(creator, 2)
    chosen = {"_selected_action": [video.pk for video in videos]}
    address = reverse("admin:videos_video_changelist")

    page = admin_client.post(
        address, {"action": "reprocess", "stage": "embed", "per_minute": "30"} | chosen, follow=True
    ).content.decode()

    run = Run.objects.get(function="steer_videos")
    assert (run.data["from_stage"], run.data["per_minute"]) == ("embed", 30)
    assert run.data["by"] == "admin"
    assert reverse("admin:videos_run_change", args=[run.pk]) in page

    admin_client.post(address, {"action": "cancel"} | chosen)
    assert Run.objects.filter(function="steer_videos", data__action="cancel").count() == 1


def test_a_run_that_is_put_off_goes_on_at_once(creator, admin_client):
    tomorrow = timezone.now() + timedelta(days=1)
    row = {"function": "process_video", "stage": "transcribe", "next_attempt_at": tomorrow}
    retrying = Run.objects.create(state="retrying", holds_slot=True, **row)
    waiting = Run.objects.create(**row)

    page = admin_client.post(
        reverse("admin:videos_run_changelist"),
        {"action": "run_now", "_selected_action": [retrying.pk, waiting.pk]},
        follow=True,
    )

    assert b"2 runs go on now" in page.content
    for run in (retrying, waiting):
        run.refresh_from_db()
        assert run.next_attempt_at is None or run.next_attempt_at <= timezone.now()


def test_a_function_is_run_again_from_a_step_with_other_input(worker, tmp_path):
    first = ended_run(greet(tmp_path))
    keys = [step.key for step in first.steps.order_by("started_at")]
    wrote = first.steps.get(key=keys[0]).result

    again = interventions.rerun(first, first.data | {"name": "Grace"}, keys[1])

    assert ended_run(again).state == "completed"
    # What came before the step is kept, also where the input would say otherwise.
    assert again.steps.get(key=keys[0]).result == wrote
    assert again.data["name"] == "Grace"

    whole = ended_run(interventions.rerun(first, first.data | {"name": "Grace"}))
    assert whole.steps.get(key=keys[0]).result != wrote


def test_what_cannot_be_run_again_says_why(creator, tmp_path):
    (video,) = completed(creator, 1)
    of_video = video.reprocess("embed")
    run = greet(tmp_path)

    for refused, data, step in [
        (of_video, None, None),
        (run, {"nonsense": 1}, None),
        (run, None, "no such step"),
    ]:
        with pytest.raises(ValueError, match=r"reprocess its video|nonsense|has no step"):
            interventions.rerun(refused, data, step)
    manage("rerun", of_video.pk, code=1)
    assert "reprocess its video" in manage.stderr


def test_runs_are_run_again_from_their_page(admin_client, worker, tmp_path):
    first = ended_run(greet(tmp_path))
    page = reverse("admin:videos_run_change", args=[first.pk])
    address = reverse("admin:videos_run_again", args=[first.pk])
    assert address in admin_client.get(page).content.decode()
    assert "cost $0.0000" in admin_client.get(address).content.decode()

    refused = admin_client.post(address, {"given": '{"nonsense": 1}', "from_step": ""})
    assert "nonsense" in refused.content.decode()
    done = admin_client.post(
        address,
        {
            "given": '{"name": "Grace", "diary": ""}'.replace('""', f'"{tmp_path / "other"}"'),
            "from_step": "",
        },
    )

    again = Run.objects.exclude(pk=first.pk).get(function=first.function)
    assert done.url == reverse("admin:videos_run_change", args=[again.pk])
    assert again.data["name"] == "Grace"


def test_a_run_without_a_video_is_cancelled_from_its_page(admin_client, tmp_path):
    run = greet(tmp_path)
    page = admin_client.get(reverse("admin:videos_run_change", args=[run.pk])).content.decode()
    assert 'value="cancel"' in page

    admin_client.post(
        reverse("admin:videos_run_changelist"),
        {"action": "cancel", "_selected_action": [run.pk]},
    )

    run.refresh_from_db()
    assert run.state == "cancelled"


def test_who_may_only_look_steers_nothing(client, django_user_model, tmp_path):
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(looker)
    run = greet(tmp_path)

    client.post(
        reverse("admin:videos_run_changelist"),
        {"action": "cancel", "_selected_action": [run.pk]},
    )
    again = client.get(reverse("admin:videos_run_again", args=[run.pk]))

    run.refresh_from_db()
    assert run.state != "cancelled"
    assert again.status_code == 403
    assert Video.objects.count() == 0


def test_steps_end_with_a_run_that_is_cancelled_or_replaced(creator, upload):
    for end in (lambda run: runs.cancel(run), lambda run: runs.replace([run])):
        run = Run.objects.get(video=upload())
        Step.objects.create(run=run, stage="transcribe", key="a", state="running")
        Step.objects.create(run=run, stage="transcribe", key="b", state="done")
        with transaction.atomic():
            end(run)
        states = dict(run.steps.values_list("key", "state"))
        assert states == {"a": "failed", "b": "done"}
        assert run.steps.get(key="a").finished_at is not None


def test_a_button_of_a_runs_page_leads_back_to_it(admin_client, creator, upload):
    run = Run.objects.get(video=upload())
    page = reverse("admin:videos_run_change", args=[run.pk])
    posted = {"action": "cancel", "_selected_action": str(run.video_id)}
    videos = reverse("admin:videos_video_changelist")

    assert admin_client.post(videos, posted | {"back": page})["Location"] == page
    away = admin_client.post(videos, posted | {"back": "https://evil.example/"})["Location"]
    assert away.startswith(videos) or away == "."


def test_only_what_can_be_done_is_counted(creator, upload, capsys):
    done = completed_video(creator)
    failed = upload()
    Video.objects.filter(pk=failed.pk).update(status="failed", error_code="no_audio")

    said = manage("reprocess", "--all", "--from", "embed", "--dry-run", "--json")
    assert said["videos"] == 1
    assert manage("reprocess", "--error-code", "no_audio", "--dry-run", "--json")["videos"] == 1
    manage("reprocess", str(done.pk), "--per-minute", "3", code=2)
