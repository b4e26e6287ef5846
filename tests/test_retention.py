"""How long histories are kept: what goes, and what has to stay."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from tests.rows import completed_video
from tests.test_commands import manage
from videos import usage
from videos.durable.registry import registry
from videos.durable.sweep import sweep
from videos.models import (
    Call,
    Event,
    MonthlyUsage,
    Run,
    Step,
    Video,
    Webhook,
    WebhookDelivery,
)
from videos.pipeline import retention

pytestmark = pytest.mark.django_db(transaction=True)

OLD = timedelta(days=91)


def old_run(age=OLD, **fields):
    ended = timezone.now() - age
    event = Event.objects.create(name="x", data={}, dispatched_at=ended)
    run = Run.objects.create(
        **{"function": "f", "stage": "run", "state": "completed", "event": event} | fields
    )
    Step.objects.create(run=run, stage="run", key="a", state="done")
    Event.objects.filter(pk=event.pk).update(created_at=ended)
    Run.objects.filter(pk=run.pk).update(created_at=ended, finished_at=ended)
    return run


def kept():
    return set(Run.objects.values_list("pk", flat=True))


def test_what_is_over_and_old_goes_with_its_steps_and_events(creator):
    video = completed_video(creator)
    Run.objects.all().delete()
    gone = [old_run(), old_run(video=video), old_run(state="replaced"), old_run(state="failed")]
    stay = [
        old_run(age=timedelta(days=89)),
        old_run(video=video, state="failed"),
        old_run(video=video, state="cancelled"),
    ]
    waiting = Event.objects.create(name="x", data={})
    Event.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - OLD)

    expected = {"runs": 4, "steps": 4, "events": 4, "calls": 0, "deliveries": 0, "audio": 0}
    assert manage("prune", "--dry-run", "--json") == expected | {"dry_run": True}
    assert len(kept()) == len(gone) + len(stay)
    assert manage("prune", "--json") == expected | {"dry_run": False}

    assert kept() == {run.pk for run in stay}
    assert Step.objects.count() == len(stay)
    assert Event.objects.count() == len(stay) + 1
    assert Video.objects.get() == video
    assert "deleted: 0 run(s)" in manage("prune")


def test_a_failed_run_stays_while_its_failure_is_handled():
    failed = old_run(state="failed")
    handler = Run.objects.create(function="g", stage="run", parent=failed)

    retention.prune()
    assert kept() == {failed.pk, handler.pk}

    Run.objects.filter(pk=handler.pk).update(state="completed", finished_at=timezone.now())
    retention.prune()
    assert kept() == set()


def test_sweeps_prune_and_only_where_something_is_due():
    old_run(age=timedelta(days=90, minutes=30))
    assert not retention.due().exists(), "a batch is waited for"
    old_run()

    sweep()

    assert kept() == set()
    assert not registry.chores["retention"].due().exists()


@pytest.mark.parametrize("setting", ["CHRONOS_KEEP_RUNS_DAYS", "CHRONOS_KEEP_CALLS_DAYS"])
def test_for_ever_is_for_ever(settings, creator, setting):
    setattr(settings, setting, 0)
    run = old_run()
    call(creator, datetime(2020, 1, 5, tzinfo=UTC))

    retention.prune()

    assert (run.pk in kept()) == (setting == "CHRONOS_KEEP_RUNS_DAYS")
    assert Call.objects.exists() == (setting == "CHRONOS_KEEP_CALLS_DAYS")


def call(creator, moment, **fields):
    row = Call.objects.create(
        **{
            "creator": creator,
            "creator_name": creator.get_username(),
            "service": "embedding",
            "model": "m",
            "state": "answered",
            "tokens": 7,
            "cost_usd": "0.5",
        }
        | fields
    )
    Call.objects.filter(pk=row.pk).update(sent_at=moment)
    return row


def test_of_calls_the_sums_stay(creator):
    first, second = datetime(2024, 1, 31, 23, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    for moment in (first, first, second):
        call(creator, moment)
    unknown = call(creator, first, state="sent")
    now = call(creator, timezone.now())
    before = usage.summary()

    pruned = retention.prune()

    assert pruned.calls == 3
    assert set(Call.objects.values_list("pk", flat=True)) == {unknown.pk, now.pk}
    assert usage.summary() == before
    assert MonthlyUsage.objects.count() == 2
    assert retention.prune().calls == 0


def test_a_month_that_ended_lately_is_kept_whole(creator):
    last_month = timezone.now() - timedelta(days=399)
    call(creator, last_month)

    assert retention.prune().calls == 0


def test_a_batch_costs_the_same_statements_however_many(creator):
    def cost(count):
        for _ in range(count):
            old_run()
        with connection.execute_wrapper(counter := Counter()):
            retention.prune()
        return counter.statements

    assert cost(1) == cost(40)


class Counter:
    """Counts statements."""

    def __init__(self):
        self.statements = 0

    def __call__(self, execute, *arguments):
        self.statements += 1
        return execute(*arguments)


def test_what_webhooks_were_told_long_ago_goes(creator, settings):
    webhook = Webhook.objects.create(creator=creator, url="https://example.org/", secret="s")
    old = uuid7_of(timezone.now() - timedelta(days=91))
    rows = {
        state: WebhookDelivery.objects.create(
            id=old_id, webhook=webhook, event="video/completed", body="{}", state=state
        )
        for old_id, state in zip(old, ("delivered", "failed", "pending"), strict=False)
    }
    fresh = WebhookDelivery.objects.create(
        webhook=webhook, event="video/completed", body="{}", state="delivered"
    )

    assert retention.prunable().deliveries == 2
    assert retention.prune().deliveries == 2
    assert set(WebhookDelivery.objects.all()) == {rows["pending"], fresh}


def uuid7_of(moment):
    first = int(moment.timestamp() * 1000) << 80
    return [UUID(int=first + number) for number in range(3)]


@pytest.fixture
def stored(creator, settings):
    """A completed video whose audio is stored beside its file, for longer than it is kept."""
    video = completed_video(creator)
    name = default_storage.save(f"{video.folder}/audio.flac", ContentFile(b"audio"))
    Video.objects.filter(pk=video.pk).update(
        file=default_storage.save(f"{video.folder}/source.mp4", ContentFile(b"video"))
    )
    Run.objects.all().delete()
    video.transcripts.update(audio=name, completed_at=timezone.now() - OLD)
    return video


def test_audio_goes_while_the_file_it_was_made_of_is_there(stored):
    name = stored.transcripts.get().audio
    assert manage("prune", "--dry-run", "--json")["audio"] == 1

    sweep()

    assert not default_storage.exists(name)
    assert stored.transcripts.get().audio == ""
    assert not registry.chores["audio"].due().exists()


def test_audio_whose_file_is_gone_is_kept_and_not_looked_at_again(stored):
    stored.refresh_from_db()
    default_storage.delete(stored.file.name)

    assert manage("prune", "--json")["audio"] == 0

    assert default_storage.exists(stored.transcripts.get().audio)
    assert not registry.chores["audio"].due().exists()


def test_audio_that_a_run_works_on_stays(stored):
    Run.objects.create(function="reprocess_video", stage="transcribe", video=stored)

    sweep()

    assert default_storage.exists(stored.transcripts.get().audio)
