"""Claims: one owner at a time, and a stale one changes nothing."""

import threading
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.db import DataError, connection, transaction
from django.utils import timezone

from tests.conftest import eventually
from tests.rows import completed_video
from videos.durable import admission, claims, heartbeat
from videos.durable.sweep import sweep
from videos.durable.workers import Repeating, WorkerThreads
from videos.exceptions import ClaimLost, RunCancelled, TimedOut
from videos.models import Call, Run, Step, Video, Worker

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINES = {"process_video": 3600.0, "refresh_vectors": 3600.0}


@pytest.fixture
def queued(upload):
    upload()
    Run.objects.update(state="queued", holds_slot=True, message_lost_at=timezone.now())
    return Run.objects.get()


@pytest.fixture(autouse=True)
def database_started_at(monkeypatch):
    """Postgres has been up for an hour, unless a test says otherwise."""

    def started(at):
        monkeypatch.setattr("videos.durable.repairs._database_started_at", lambda: at)

    started(timezone.now() - timedelta(hours=1))
    return started


def test_of_many_workers_one_gets_the_run(queued):
    won = []
    together = threading.Barrier(8)

    def claim():
        try:
            connection.ensure_connection()
            together.wait()
            with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim:
                if claim is not None:
                    won.append(claim.token)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [1]


@pytest.mark.parametrize("stage", ["chunk", "finish"])
def test_a_message_for_another_stage_claims_nothing(queued, stage):
    with claims.claimed(queued.pk, stage, None, DEADLINES) as claim:
        assert claim is None


def test_a_stale_worker_cannot_write(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as stale:
        Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert sweep().requeued == 1
        with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as fresh:
            assert fresh.token == stale.token + 1
            with pytest.raises(ClaimLost), stale.guard():
                raise AssertionError("a stale worker got in")
            heartbeat.renew([stale])
            with pytest.raises(ClaimLost):
                stale.check()
            heartbeat.renew([fresh])
            fresh.check()


def test_the_heartbeat_tells_of_a_deadline_that_passed(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim:
        claim.extend_deadline(-1)
        heartbeat.renew([claim])
        with pytest.raises(TimedOut):
            claim.check()


def test_the_heartbeat_tells_of_a_cancellation(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim:
        Video.objects.get().cancel()
        heartbeat.renew([claim])
        with pytest.raises(RunCancelled):
            claim.check()


def test_a_lost_worker_leaves_its_calls_unknown(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES):
        Call.objects.create(run_id=queued.pk, service="transcription", model="whisper-1")
        Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()

    assert Call.objects.get().state == "unknown"
    assert Run.objects.get().deaths == 1


def test_a_run_that_takes_worker_after_worker_along_fails(queued):
    Run.objects.update(deaths=9)
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES):
        Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()

    run = Run.objects.get()
    assert (run.state, run.error_code, run.holds_slot) == ("failed", "worker_lost", False)
    assert Video.objects.get().error_code == "worker_lost"


def test_leases_that_a_restart_of_postgres_cost_are_no_deaths(queued, database_started_at):
    database_started_at(timezone.now())
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES):
        Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()

    assert (Run.objects.get().state, Run.objects.get().deaths) == ("queued", 0)


def test_a_new_request_replaces_the_run_and_voids_its_claim(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim:
        Video.objects.get().reprocess(from_stage="transcribe")
        with pytest.raises(ClaimLost), claim.guard():
            pass

    assert sorted(Run.objects.values_list("state", flat=True)) == ["replaced", "waiting"]


def test_a_second_click_joins_the_run_that_waits(queued):
    Video.objects.update(status="failed")

    assert Video.objects.get().reprocess().pk == queued.pk


def test_the_sweep_finds_a_message_that_redis_lost(upload, worker, openai):
    openai.gate.clear()
    upload()
    eventually(lambda: Call.objects.filter(state="sent").exists())
    second = upload()
    worker.broker.client.flushall()
    Run.objects.filter(video=second).update(
        state="queued", message_lost_at=timezone.now(), holds_slot=True
    )
    openai.gate.set()

    eventually(lambda: set(Video.objects.values_list("status", flat=True)) == {"completed"})


def test_a_run_cancelled_while_it_is_admitted_stays_cancelled(upload, creator):
    Worker.objects.create(pid=1, host="h", threads=8, last_seen=timezone.now())
    run = Run.objects.get(video=upload())
    Run.objects.update(state="waiting", holds_slot=False)
    (stale,) = Run.objects.all()
    Video.objects.get().cancel()

    with transaction.atomic():
        assert admission._admit([stale.pk]) == []
    assert Run.objects.get(pk=run.pk).state == "cancelled"


def test_a_late_thread_does_not_end_the_newer_claim_of_its_process(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as stale:
        Run.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()
        with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as fresh:
            assert set(claims.live_claims()) == {stale, fresh}
            heartbeat.renew(claims.live_claims())
            with pytest.raises(ClaimLost):
                stale.check()
            fresh.check()


def test_a_run_that_a_long_transaction_holds_costs_no_other_lease(queued, upload):
    other = Run.objects.get(video=upload())
    Run.objects.update(state="queued", holds_slot=True)
    with (
        claims.claimed(queued.pk, "transcribe", None, DEADLINES) as held,
        claims.claimed(other.pk, "transcribe", None, DEADLINES) as free,
    ):
        renewed = threading.Thread(
            target=lambda: (heartbeat.renew([held, free]), connection.close())
        )
        with held.guard():
            renewed.start()
            renewed.join(10)
            assert not renewed.is_alive()
        held.check()
        free.check()


def test_a_request_after_a_cancellation_is_not_lost_with_the_run(queued):
    video = Video.objects.get()
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES):
        video.cancel()

        started = video.reprocess(from_stage="transcribe")

    assert started.pk != queued.pk
    assert Run.objects.get(pk=queued.pk).state == "replaced"


def test_a_stage_that_does_not_look_at_its_claim_is_ended_in_its_place(queued, monkeypatch):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim:
        Run.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
        heartbeat.renew([claim])
        monkeypatch.setattr(heartbeat, "_STUCK_S", 0.0)
        heartbeat.renew([claim])

        assert (Run.objects.get().state, Video.objects.get().error_code) == ("failed", "timed_out")
        with pytest.raises(ClaimLost), claim.guard():
            pass


def test_a_process_that_falls_silent_keeps_no_lock_for_long(queued):
    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim, claim.guard():
        assert shown("idle_in_transaction_session_timeout") == "10s"
    assert shown("idle_in_transaction_session_timeout") == "0"


def shown(name):
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]


def test_a_run_of_a_function_that_is_gone_fails_and_says_so(queued):
    past = timezone.now() - timedelta(seconds=1)
    Run.objects.update(function="my.gone", requeues=12, message_lost_at=past)

    sweep()

    run = Run.objects.get()
    assert (run.state, run.error_code, run.holds_slot) == ("failed", "misconfigured", False)
    assert "my.gone" in run.error


def test_no_more_retries_are_admitted_than_workers_have_room_for():
    Worker.objects.create(pid=1, host="h", threads=2, last_seen=timezone.now())
    now = timezone.now()
    Run.objects.bulk_create(
        Run(stage="chunk", state="retrying", function="process_video", next_attempt_at=now)
        for _ in range(9)
    )

    assert [sweep().requeued, sweep().requeued] == [4, 0]


def test_runs_that_wait_for_busy_threads_are_not_sent_again():
    Worker.objects.create(pid=1, host="h", threads=1, last_seen=timezone.now())
    past = timezone.now() - timedelta(seconds=1)
    kept = timezone.now() + timedelta(minutes=1)
    chunking = {"function": "process_video", "stage": "chunk"}
    Run.objects.create(state="running", lease_until=kept, **chunking)
    Run.objects.create(state="queued", message_lost_at=past, **chunking)

    assert sweep().requeued == 0
    Run.objects.filter(state="running").delete()
    assert sweep().requeued == 1


def test_a_delete_waits_for_what_the_worker_is_writing(queued):
    order = []

    def delete():
        try:
            Video.objects.get().delete()
            order.append("deleted")
        finally:
            connection.close()

    with claims.claimed(queued.pk, "transcribe", None, DEADLINES) as claim, claim.guard():
        thread = threading.Thread(target=delete)
        thread.start()
        eventually(waits_for_a_lock)
        Step.objects.create(run=claim.run, stage="transcribe", key="written meanwhile")
        order.append("written")
    thread.join()

    assert order == ["written", "deleted"]
    assert not Run.objects.exists()


def waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def test_saving_a_video_writes_nothing_of_what_the_pipeline_wrote(upload):
    loaded = upload()
    Video.objects.update(status="completed", progress=1, duration_s=8)

    loaded.title = "Another title"
    loaded.save()

    video = Video.objects.get()
    assert (video.title, video.status, video.duration_s) == ("Another title", "completed", 8)


def test_a_guard_waits_for_the_video_before_it_locks_the_run(creator):
    """The other way round, who locks a video and then its run would wait for it for ever."""
    video = completed_video(creator)
    Run.objects.update(state="running", lease_until="2100-01-01T00:00Z", finished_at=None)
    claim = claims.Claim(Run.objects.get(video=video), "finish", 60)
    guarded = []

    def guard():
        with claim.guard() as run:
            guarded.append(run.pk)
        connection.close()

    with transaction.atomic():
        Video.objects.select_for_update(no_key=True).get(pk=video.pk)
        thread = threading.Thread(target=guard)
        thread.start()
        eventually(_somebody_waits_for_a_lock)
        Run.objects.select_for_update(nowait=True).get(pk=claim.run.pk)
        assert guarded == []
    thread.join(10)

    assert guarded == [claim.run.pk]


def test_a_claim_waits_for_no_video(creator):
    """Else threads would wait, one after the other, for a video that somebody keeps locked."""
    video = completed_video(creator)
    Run.objects.update(state="queued", finished_at=None)
    run = Run.objects.get(video=video)
    claimed = []

    def claim():
        with claims.claimed(run.pk, run.stage, None, DEADLINES) as claim:
            claimed.append((claim.run.pk, claim.run.video, claim.run.creator))
        connection.close()

    with transaction.atomic():
        Video.objects.select_for_update(no_key=True).get(pk=video.pk)
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join(10)

    assert claimed == [(run.pk, video, creator)]


def test_a_run_of_no_video_is_claimed_where_its_function_is_known(db):
    fields = {"stage": "run", "state": "queued", "data": {"a": [1]}}
    run = Run.objects.create(function="refresh_vectors", **fields)
    unknown = Run.objects.create(function="gone with its app", **fields)

    with claims.claimed(unknown.pk, "run", None, DEADLINES) as claim:
        assert claim is None
    with claims.claimed(run.pk, "run", None, DEADLINES) as claim:
        assert (claim.run.video, claim.run.creator, claim.run.data) == (None, None, {"a": [1]})
        with claim.guard() as held:
            assert held.state == "running"


def _somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()


@pytest.mark.parametrize(("deaths", "is_free"), [(0, True), (2, False)])
def test_the_runs_of_a_process_that_died_here_do_not_wait_for_their_leases(
    queued, tmp_path, monkeypatch, deaths, is_free
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = Worker.objects.create(pid=1, host="h", threads=4, last_seen=timezone.now())
    an_hour = timezone.now() + timedelta(hours=1)
    Run.objects.update(state="running", worker=dead, lease_until=an_hour, deaths=deaths)
    (tmp_path / f"chronos-work-{dead.pk}.left").mkdir()
    (tmp_path / f"chronos-work-{dead.pk}.left" / ".lock").touch()
    alive = WorkerThreads(Mock(), Mock(), [], owns_process=False)

    alive._look()

    run = Run.objects.get()
    assert (run.state == "queued") is is_free  # In quarantine, a child of the dead may be at it.
    dead.refresh_from_db()
    assert dead.threads == 0


def test_what_is_done_again_and_again_needs_no_connection_that_lasts(caplog):
    asked: list[int] = []

    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            asked.append(cursor.fetchone()[0])

    thread = Repeating("asks", ask, interval_s=0.01)
    thread.start()
    eventually(lambda: asked)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [asked[0]])
    eventually(lambda: asked[-1] != asked[0])
    thread.stop()
    assert "The database did not answer" not in caplog.text


def test_what_fails_by_itself_is_not_done_twice_at_once(caplog):
    tried: list[int] = []

    def fail():
        tried.append(1)
        thread._stopping.set()
        raise DataError("wrong")

    thread = Repeating("fails", fail, interval_s=0.01)
    thread.run()

    assert tried == [1]
    assert "fails failed, trying again" in caplog.text
