"""A task that writes down how long its message was under way, on Celery and on Procrastinate."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery
from procrastinate import App, PsycopgConnector

from benchmarks.peers.celery_pipeline import BROKER

ARRIVED = "benchmark:hops"

celery = Celery("hops", broker=BROKER)
celery.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1)
procrastinate = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
client = redis.Redis.from_url(os.environ["REDIS_URL"])


@celery.task(name="hop")
def celery_hop(sent_at: float) -> None:
    """Write down how many seconds ago the message was sent."""
    client.rpush(ARRIVED, time.time() - sent_at)


@procrastinate.task(name="hop")
def procrastinate_hop(sent_at: float) -> None:
    """Write down how many seconds ago the message was sent."""
    client.rpush(ARRIVED, time.time() - sent_at)
