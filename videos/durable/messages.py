"""Handing runs to Dramatiq: the pipeline of what is left of a run, its id in every message."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

import dramatiq
from dramatiq import Message, MessageProxy
from dramatiq.errors import BrokerError
from redis.exceptions import RedisError

from videos.durable.models import Run
from videos.durable.registry import Function, registry

logger = logging.getLogger(__name__)

#: The message that this thread processes, if it does.
_processed = threading.local()


def enqueue(runs: Iterable[Run]) -> None:
    """Enqueue each run from its current stage on.

    A broker that cannot be reached loses nothing: the sweep finds queued runs without a
    message. A run that cannot be sent at all costs the others nothing.
    """
    for run in runs:
        function = registry.functions.get(run.function)
        if function is None or run.stage not in function.stages:
            logger.error(
                "Run %s: no installed app has the stage %s of %s.", run.pk, run.stage, run.function
            )
            continue
        try:
            dramatiq.pipeline(_messages(run, function)).run()  # type: ignore[no-untyped-call]
        except (BrokerError, RedisError) as error:
            logger.warning("Run %s could not be enqueued, the sweep will: %s", run.pk, error)
        except Exception:  # Whatever is wrong with this run's queue or actor.
            logger.exception("Run %s could not be enqueued.", run.pk)


def processing(message: MessageProxy) -> None:
    """Note the message that this thread begins to process."""
    _processed.message = message


def end_pipeline() -> None:
    """Have Dramatiq send no message for the next stage: the run has gone on without it."""
    if message := getattr(_processed, "message", None):
        message.options.pop("pipe_target", None)


def sendable_stages(function: Function) -> list[str]:
    """Return the stages of a function whose actors this process has."""
    actors = dramatiq.get_broker().actors
    return [name for name, stage in function.stages.items() if stage.actor in actors]


def _messages(run: Run, function: Function) -> list[Message[None]]:
    broker = dramatiq.get_broker()
    broker.declare_queue(run.queue)
    return [
        broker.get_actor(function.stages[stage].actor)
        .message_with_options(args=(str(run.pk),), pipe_ignore=True)
        .copy(queue_name=run.queue)
        for stage in function.stages_from(run.stage)
    ]


def broker_answers() -> bool:
    """Whether the broker takes messages, as far as it can be asked; its errors are an answer."""
    client = getattr(dramatiq.get_broker(), "client", None)
    if client is None:
        return True
    try:
        return bool(client.ping())
    except Exception as error:  # Whatever its library raises.
        logger.warning("The broker does not answer: %s", error)
        return False
