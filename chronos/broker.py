"""The Dramatiq broker: Redis by default, RabbitMQ where BROKER_URL says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from chronos.environment import Environment

_MIDDLEWARE = [
    "dramatiq.middleware.Pipelines",
    "dramatiq.middleware.Retries",
    "dramatiq.middleware.ShutdownNotifications",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
    "videos.middleware.Durability",
]
#: A stall of Redis longer than this kills Dramatiq's consumer threads; redis-py's own is 5 s.
_SOCKET_TIMEOUT_S = 60
#: Milliseconds until the messages of a worker without heartbeat go to others. Runs are
#: recovered by their leases long before; this returns what Redis still holds.
_HEARTBEAT_TIMEOUT_MS = 15_000


def broker_settings(environment: Environment) -> dict[str, Any]:
    """Return the setting DRAMATIQ_BROKER."""
    url = environment.broker_url or environment.redis_url or "redis://127.0.0.1:1/0"
    if url.startswith(("amqp://", "amqps://")):
        return {
            "BROKER": "dramatiq.brokers.rabbitmq.RabbitmqBroker",
            "OPTIONS": {"url": url, "confirm_delivery": True},
            "MIDDLEWARE": _MIDDLEWARE,
        }
    timeout = urlencode({"socket_timeout": _SOCKET_TIMEOUT_S})
    return {
        "BROKER": "videos.brokers.WakingRedisBroker",
        "OPTIONS": {
            "url": f"{url}{'&' if '?' in url else '?'}{timeout}",
            "heartbeat_timeout": _HEARTBEAT_TIMEOUT_MS,
            "maintenance_chance": 1_000_000,
        },
        "MIDDLEWARE": _MIDDLEWARE,
    }
