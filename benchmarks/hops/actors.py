"""The actor of `benchmarks/idle_hops.py`."""

from __future__ import annotations

import time

import dramatiq

ARRIVED = "benchmark:hops"


@dramatiq.actor(max_retries=0)
def hop(sent_at: float) -> None:
    """Write down how many seconds ago the message was sent."""
    dramatiq.get_broker().client.rpush(ARRIVED, time.time() - sent_at)
