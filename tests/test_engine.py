"""The engine runs an app's durable function without anything of videos but their tables."""

import subprocess
import sys

import pytest

from tests.conftest import worker_environment

PROGRAM = '''
import sys
from importlib.abc import MetaPathFinder

ENGINE = ("videos.durable", "videos.models", "videos.migrations")
GROUND = ("videos.conf", "videos.exceptions", "videos.local", "videos.text", "videos.audio")
SURFACE = ("videos.apps", "videos.middleware", "videos.brokers", "videos.management")


class Blocked(MetaPathFinder):
    """Lets nothing be imported that only videos need."""

    def find_spec(self, name, path=None, target=None):
        allowed = any(name == each or name.startswith(each + ".") for each in (
            *ENGINE, *GROUND, *SURFACE))
        if name.startswith("videos.") and not allowed:
            raise ImportError(f"{name} belongs to videos")


sys.meta_path.insert(0, Blocked())

import os
import django
import dj_database_url
import dramatiq
from django.apps import AppConfig
from django.conf import settings
from videos.brokers import WakingRedisBroker
from videos.middleware import Durability

broker = WakingRedisBroker(url=os.environ["REDIS_URL"], middleware=[Durability()])
dramatiq.set_broker(broker)


class EngineConfig(AppConfig):
    name = "videos"
    default = False


settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "__main__.EngineConfig"],
    DATABASES={"default": dj_database_url.parse(os.environ["DATABASE_URL"])},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, SECRET_KEY="k",
    CHRONOS_RETRY_BACKOFF_S=0.05,
)
django.setup()

from dataclasses import dataclass
from videos.durable import outbox
from videos.durable.functions import function
from videos.durable.models import Run, Step

failures = []


@dataclass
class Order:
    number: int


@function("shop/order.placed", data=Order, retries=1)
def charge(run, data):
    total = run.step("total", lambda number: number * 2, data.number)
    if not failures:
        failures.append(1)
        raise OSError("the till is stuck")
    run.step("receipt", str, total)


import time

worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
worker.start()
event = outbox.send("shop/order.placed", {"number": 21})
until = time.monotonic() + 30
while not Run.objects.filter(event=event, state="completed").exists():
    assert time.monotonic() < until, list(Run.objects.values())
    time.sleep(0.02)
worker.stop()
steps = Step.objects.filter(run__event=event, key__in=["total", "receipt"])
print(dict(steps.values_list("key", "result")))
print(sorted(name for name in sys.modules if name.startswith(("videos.pipeline", "videos.ai"))))
'''


@pytest.mark.django_db(transaction=True)
def test_a_durable_function_runs_where_everything_of_videos_is_missing(tmp_path):
    program = tmp_path / "shop.py"
    program.write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, str(program)],
        env=worker_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'total': 42, 'receipt': '42'}", "[]"]
