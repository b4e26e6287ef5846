"""What can be paused by name, on this site."""

from __future__ import annotations

import dramatiq

from videos.ai.providers import services
from videos.durable.registry import registry
from videos.models import Pause


def pausable() -> dict[Pause.Kind, list[str]]:
    """Return the names of queues, functions and services."""
    return {
        Pause.Kind.QUEUE: sorted(dramatiq.get_broker().get_declared_queues()),
        Pause.Kind.FUNCTION: sorted(registry.functions),
        Pause.Kind.SERVICE: sorted(services()),
    }
