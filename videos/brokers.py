"""Dramatiq's Redis broker, with consumers that are woken instead of polling.

Dramatiq's own consumer sleeps between two looks at its queue, up to `dramatiq_worker_timeout`
while idle. Here every enqueued message also leaves a token in a short list beside the queue, on
which idle consumers block. A token too many costs a look; one too few, a wait of a few
seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import redis
from dramatiq import Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import compute_backoff
from dramatiq.errors import ConnectionClosed

logger = logging.getLogger(__name__)

#: Tokens kept for a queue that nobody consumes.
_MAX_TOKENS = 64
#: Seconds after which a queue without consumers forgets its tokens.
_TOKENS_LAST_S = 60
#: Seconds for which a consumer blocks, unless it holds messages: a token that was taken by a
#: process that died is waited for so long.
_BLOCKS_S = 4.0
#: Milliseconds between two looks where Redis cannot block.
_POLL_MS = 100
_DELAYED = ".DQ"


class WakingRedisBroker(RedisBroker):
    """A RedisBroker whose idle consumers start on a message within milliseconds.

    A worker fetches no more messages than it has threads, over all its queues together, so
    that none waits here while another process has a thread to spare.

    Where Redis refuses to block (a proxy, an access list without BLPOP), consumers poll every
    100 ms.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.can_block = True
        self._consumers: dict[str, _WakingConsumer] = {}
        self._freed = threading.Condition()
        #: Whether consumers leave messages to other processes, as while this one ends.
        self.is_holding = False
        #: A list on which only this process's consumers block.
        self._own_key = ""

    @property
    def consumer_class(self) -> type[_WakingConsumer]:
        """The class that `consume` makes."""
        return _WakingConsumer

    @property
    def blocks_s(self) -> float:
        """The seconds for which an idle consumer blocks: less than the socket would wait."""
        options = self.client.connection_pool.connection_kwargs
        return min(_BLOCKS_S, 0.8 * (options.get("socket_timeout") or _BLOCKS_S))

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> _WakingConsumer:
        """Return a consumer of one queue; `timeout` is how long it blocks, in milliseconds."""
        self._own_key = self._own_key or f"{self.namespace}:{uuid4()}.wake"
        consumer = _WakingConsumer(self, queue_name, prefetch, timeout)
        self._consumers[queue_name] = consumer
        return consumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue a message, and wake one consumer of its queue.

        Raises:
            redis.RedisError: if Redis did not take the message.
        """
        enqueued = super().enqueue(message, delay=delay)
        self.wake(enqueued.queue_name, 1)
        return enqueued

    def wake(self, queue_name: str, count: int) -> None:
        """Wake so many consumers of a queue; one that misses it looks a little later."""
        self._push(f"{self.namespace}:{queue_name}.wake", count)

    def _push(self, key: str, count: int) -> None:
        try:
            with self.client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(key, *[1] * count)
                pipeline.ltrim(key, -_MAX_TOKENS, -1)
                pipeline.expire(key, _TOKENS_LAST_S)
                pipeline.execute()
        except redis.RedisError as error:
            logger.warning("No consumer could be woken by %s: %s", key, error)

    def tokens_keys(self, queue_name: str) -> list[str]:
        """Return the names of the lists on which this process's consumers of a queue block."""
        return [f"{self.namespace}:{queue_name}.wake", self._own_key]

    def fetched(self) -> int:
        """Return how many messages this process holds, delayed ones left out."""
        return sum(
            consumer.outstanding_message_count
            for consumer in list(self._consumers.values())
            if not consumer.queue_name.endswith(_DELAYED)
        )

    def hold(self) -> None:
        """Fetch nothing more. Dramatiq's own pause costs each consumer three seconds."""
        self.is_holding = True
        if self._consumers:
            self._push(self._own_key, len(self._consumers))

    def resume(self) -> None:
        """Fetch again."""
        self.is_holding = False

    def message_done(self) -> None:
        """Let consumers know that there is room for another message."""
        with self._freed:
            self._freed.notify_all()

    def await_room(self, timeout_s: float) -> None:
        """Return once a message was done, or after a while."""
        with self._freed:
            self._freed.wait(timeout_s)


class _WakingConsumer(_RedisConsumer):
    broker: WakingRedisBroker
    #: Whether this consumer was woken, and has not looked since.
    _has_token = False

    def __next__(self) -> MessageProxy | None:
        if not self.message_cache:
            with _as_broker_errors():
                self._fill()
        return super().__next__() if self.message_cache else None

    def ack(self, message: MessageProxy) -> None:
        with _as_broker_errors():
            super().ack(message)
        self.broker.message_done()

    def nack(self, message: MessageProxy) -> None:
        with _as_broker_errors():
            super().nack(message)
        self.broker.message_done()

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        returned = list(messages)
        super().requeue(returned)
        if returned:
            self.broker.wake(self.queue_name, len(returned))

    def _fill(self) -> None:
        held = self.outstanding_message_count
        if not self.queue_name.endswith(_DELAYED):
            held = max(held, self.broker.fetched())
        has_token, self._has_token = self._has_token, False
        if self.broker.is_holding or held >= self.prefetch:
            if has_token:
                self.broker.wake(self.queue_name, 1)  # Another process may have room.
            self.broker.await_room(self.timeout / 1000)
            return
        self.message_cache = self.broker.do_fetch(self.queue_name, self.prefetch - held)
        if not self.message_cache:
            self._await_token()

    def _await_token(self) -> None:
        if self.broker.can_block:
            try:
                # Held messages may be delayed ones, for whose time Dramatiq's thread looks.
                is_free = not self.outstanding_message_count
                blocks_s = self.broker.blocks_s if is_free else self.timeout / 1000
                keys = self.broker.tokens_keys(self.queue_name)
                popped: Any = self.broker.client.blpop(keys, blocks_s)
                self._has_token = popped is not None and popped[0] == keys[0].encode()
            except redis.ResponseError as error:
                logger.warning("Redis cannot block (%s): polling every %s ms.", error, _POLL_MS)
                self.broker.can_block = False
            else:
                self.misses = 0
            return
        self.misses, pause_ms = compute_backoff(self.misses, max_backoff=_POLL_MS)
        threading.Event().wait(pause_ms / 1000)


@contextmanager
def _as_broker_errors() -> Iterator[None]:
    """Turn errors of the connection into those from which Dramatiq's threads recover.

    Its own consumer does not know that redis-py's TimeoutError is no ConnectionError.
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ConnectionClosed(error) from None
