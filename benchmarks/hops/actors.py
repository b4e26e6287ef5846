"""The actor of `benchmarks/idle_hops.py`, and the functions of `benchmarks/recovery.py`."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace

import dramatiq

from videos import events
from videos.durable import runs
from videos.durable.registry import Function, registry
from videos.models import Event, Run

ARRIVED = "benchmark:hops"
#: Where a run says which process has it, and when it was taken over.
HELD, RESUMED = "benchmark:held", "benchmark:resumed"
SLOT = "benchmark/slot.requested"


@dramatiq.actor(max_retries=0)
def hop(sent_at: float) -> None:
    """Write down how many seconds ago the message was sent."""
    dramatiq.get_broker().client.rpush(ARRIVED, time.time() - sent_at)


@dataclass
class Held:
    """A run that is to lose its process."""

    number: int


@events.function("benchmark/held.requested", data=Held)
def hold(run: events.RunContext, data: Held) -> None:
    """Say which process has the run, and keep it until that is gone; taken over, say when."""
    client = dramatiq.get_broker().client
    if run.attempt == 1:
        client.rpush(HELD, os.getpid())
        threading.Event().wait()
    client.rpush(RESUMED, time.time())


@dataclass
class Slot:
    """A run of a creator."""

    creator: int


@events.function(SLOT, data=Slot, name="benchmark.slot")
def take_slot(run: events.RunContext, data: Slot) -> None:
    """Do nothing in a slot."""


def _start(event: Event, function: Function) -> list[Run]:
    run = runs.create(
        function, data=event.data, event_id=event.pk, creator_id=event.data["creator"]
    )
    return [run] if run else []


registry.functions["benchmark.slot"] = replace(registry.functions["benchmark.slot"], start=_start)
