"""Functions of other apps that go wrong, each in a way of its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from videos import events
from videos.durable.registry import WHOLE, Function, Stage, registry

UNSERVED_QUEUE = "nobody"


@dataclass
class Nothing:
    """No data."""


@events.function("chaos/unserved", data=Nothing, queue=UNSERVED_QUEUE)
def wait_for_nobody(run, data: Nothing) -> None:
    """Never called: no worker of a lane serves its queue."""


@events.function("chaos/hung", data=Nothing, retries=0, deadline_s=1.0)
def hang(run, data: Nothing) -> None:
    """Never return, and never look at the run."""
    threading.Event().wait()


def refuse(event, function):
    """Raise, as a starter with a mistake does."""
    raise RuntimeError("this event cannot be dispatched \0")


registry.add_type("chaos/poisoned", Nothing)
registry.add_function(
    Function(
        "tests.chaos.poisoned",
        "chaos/poisoned",
        {WHOLE: Stage("tests.chaos.poisoned", lambda claim: None)},
        start=refuse,
    )
)
