"""What machines ask: is it alive, is it ready, what does it do."""

import re
from datetime import timedelta

import dramatiq
import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.urls import reverse
from django.utils import timezone
from dramatiq.brokers.redis import RedisBroker
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import PROJECT
from tests.rows import completed_video
from videos.durable.gauges import Gauges
from videos.models import Breaker, Run, Step, Worker


@pytest.fixture
def worker(db):
    return Worker.objects.create(pid=7, host="alpha", threads=4, last_seen=timezone.now())


def test_alive_is_said_without_asking_anybody(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer["Cache-Control"]


def readiness(client):
    answer = client.get("/readyz")
    return answer.status_code, answer.json()["missing"]


def test_ready_is_what_has_a_database_migrations_a_broker_and_a_worker(client, worker):
    assert readiness(client) == (200, [])


def test_what_is_missing_is_named(client, worker, monkeypatch, caplog):
    Worker.objects.update(last_seen="2020-01-01T00:00Z")
    MigrationRecorder.Migration.objects.filter(name__endswith="0030_usage_until").delete()
    monkeypatch.setattr(dramatiq, "get_broker", lambda: RedisBroker(url="redis://127.0.0.1:1"))

    assert readiness(client) == (503, ["migrations", "broker", "worker"])
    assert "The broker does not answer" in caplog.text


def test_without_a_database_nothing_else_is_asked(client, worker, monkeypatch, caplog):
    def broken(*_args, **_options):
        raise OSError("sk-secret")

    with monkeypatch.context() as patched:
        patched.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", broken)
        answer = client.get("/readyz")

    assert answer.json() == {"ready": False, "missing": ["database"]}


def metrics(client, **headers):
    answer = client.get("/metrics", **headers)
    assert answer.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_metrics_tell_what_the_engine_does(client, creator, worker):
    completed_video(creator)
    now = timezone.now()
    Run.objects.update(finished_at=now)
    Run.objects.create(
        function="f", stage="run", state="failed", error_code="internal", finished_at=now
    )
    Run.objects.create(
        function="f", stage="run", queue="letters", waiting_reason="worker", state="waiting"
    )
    Worker.objects.update(queues=["default"])
    Breaker.objects.create(service="embedding", failures=2)

    found = metrics(client)

    assert found["chronos_runs", "letters", "waiting", "worker"] == 1
    assert found["chronos_unserved_runs", "letters"] == 1
    assert found["chronos_runs_finished_1h", "completed"] == 1
    assert found["chronos_failures_1h", "internal"] == 1
    assert found["chronos_workers", "live"] == 2
    assert found["chronos_workers", "dead"] == 0
    assert found["chronos_worker_threads", "all"] == 12
    assert found["chronos_breaker_failures", "embedding", "failing"] == 2
    assert found["chronos_calls_1h", "answered", "embedding"] == 1
    assert found["chronos_oldest_run_seconds", "letters", "waiting", "worker"] >= 0
    assert found["chronos_set_aside",] == 0


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        ("", {"REMOTE_ADDR": "10.0.0.7"}, 200),
        ("", {"REMOTE_ADDR": "::1"}, 200),
        ("", {"REMOTE_ADDR": "9.9.9.9"}, 403),
        ("", {"REMOTE_ADDR": ""}, 403),
        ("", {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.7"}, 403),
        ("", {"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=10.0.0.7"}, 403),
        ("s3cret", {"REMOTE_ADDR": "10.0.0.7"}, 403),
        ("s3cret", {"HTTP_AUTHORIZATION": "Bearer other"}, 403),
        ("s3cret", {"REMOTE_ADDR": "9.9.9.9", "HTTP_AUTHORIZATION": "Bearer s3cret"}, 200),
    ],
)
@pytest.mark.django_db
def test_metrics_are_for_who_has_the_token_or_a_private_address(
    client, settings, token, headers, status
):
    settings.CHRONOS_METRICS_TOKEN = token

    assert client.get("/metrics", **headers).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_can_be_sent_to_them(client, path):
    assert client.post(path).status_code == 405


def test_the_dashboard_asks_for_what_there_is(client, worker, settings):
    settings.CHRONOS_METRICS_TOKEN = ""
    dashboard = (PROJECT / "docs" / "grafana.json").read_text()
    told = client.get(reverse("videos:metrics")).content.decode()

    asked = set(re.findall(r"chronos_[a-z0-9_]+", dashboard))

    assert len(asked) > 10
    assert asked <= set(re.findall(r"# TYPE (chronos_[a-z0-9_]+)", told))


@pytest.mark.django_db
def test_steps_are_timed_and_what_sweeps_leave_is_told(creator):
    now = timezone.now()
    run = Run.objects.create(
        function="x", stage="run", state="completed", creator=creator, finished_at=now
    )
    for seconds in (1, 2, 3):
        Step.objects.create(
            run=run,
            stage="embed",
            key=f"{seconds}",
            state="done",
            started_at=now - timedelta(seconds=seconds),
            finished_at=now,
        )
    gauges = Gauges()

    (steps,) = gauges.steps

    assert (steps.stage, steps.count, steps.p50_s) == ("embed", 3, 2.0)
    assert gauges.sweep_lag_s == 0
    Run.objects.create(
        function="x", stage="run", state="running", lease_until=now - timedelta(minutes=1)
    )
    assert 59 <= Gauges().sweep_lag_s < 90
