"""The Dramatiq middleware that a project with `videos` must list; a system check says so."""

from __future__ import annotations

import gc
import logging
import os
import queue
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from dramatiq import Broker, MessageProxy, Middleware, Worker
from dramatiq.errors import ActorNotFound

from videos.brokers import WakingRedisBroker
from videos.conf import conf

if TYPE_CHECKING:
    from videos.durable.workers import WorkerThreads

logger = logging.getLogger(__name__)

#: Seconds until an idle thread looks up by itself; and while the worker ends.
_PATIENCE_S, _HASTE_S = 60.0, 0.05


class Durability(Middleware):
    """Keeps claims alive while a worker lives, and records how messages die.

    A message can die in four ways: its actor raised, its retries are used up, it is too old,
    or no worker knows its actor. All of them end in `after_nack`.
    """

    def __init__(self) -> None:
        self._threads: WorkerThreads | None = None
        self._owns_process = False

    def after_process_boot(self, broker: Broker) -> None:
        """Note that this process is a worker's and may be ended for its sake.

        What it works with is loaded now, and lasts as long as it does: looking through all of that
        for garbage would take a tenth of a second each time.
        """
        self._owns_process = True
        from videos.durable import ending
        from videos.durable.registry import registry

        ending.heed_its_own_signal()
        try:
            for name in registry.worker_modules:
                import_module(name)
        except ImportError:
            logger.critical(
                "This worker lacks a library that it works with, and ends.", exc_info=True
            )
            os._exit(os.EX_CONFIG)  # After an exception Dramatiq would go on, and fail every run.
        gc.freeze()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Fetch no more messages than there are threads: any other may wait here for nothing."""
        worker.queue_prefetch = worker.worker_threads
        worker.work_queue = PatientQueue()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Register the worker; start its heartbeat and its sweep."""
        # Brokers are made before the models are loaded, so this module must not need them.
        from videos.durable.workers import WorkerThreads

        queues = sorted(worker.consumer_whitelist or broker.get_declared_queues())
        intake = Intake(broker, worker)
        self._threads = WorkerThreads(worker, intake, queues, owns_process=self._owns_process)
        self._threads.start()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Let who executes a stage know of its message."""
        from videos.durable import messages

        messages.processing(message)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Hand the runs of this process over to others, at their next look at their claim.

        Calls in flight are waited for (CHRONOS_DRAIN_S): they are paid. Its consumers fetch nothing
        more: idle threads would take what was just handed over.
        """
        from videos.durable import claims, ending, quarantine

        if self._owns_process:
            ending.insist_on_end(os.EX_TEMPFAIL)
        if self._threads is not None:
            self._threads.stop_watching()
        if isinstance(worker.work_queue, PatientQueue):
            worker.work_queue.end_patience()
        Intake(broker, worker).hold()
        quarantine.stop()
        claims.hand_over(conf().drain_s)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the heartbeat and sign the worker off, once the last stage has ended."""
        from videos.durable import claims

        if self._threads is not None:
            self._threads.stop()
        claims.keep()
        if isinstance(broker, WakingRedisBroker):
            broker.resume()

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Record a terminal failure on the run whose message died."""
        from videos.durable.execution import message_died

        run_id = _run_id(message)
        if run_id is None:
            return
        error = getattr(message, "_exception", None)
        if isinstance(error, (DatabaseError, InterfaceError)):
            return  # Nobody's fault: the sweep sends the run again.
        if isinstance(error, ActorNotFound):
            reason = (
                f"No worker has the function {message.actor_name}. Deploy the app that defines "
                "it, then reprocess."
            )
        elif error is not None:
            reason = f"The worker ended the message: {type(error).__name__}: {error}"
        else:
            reason = "The message was too old or was refused by the broker."
        message_died(run_id, message.message_id, reason)


class PatientQueue(queue.PriorityQueue[Any]):
    """Where a worker's threads wait for messages.

    Dramatiq's would look up each second whether they are to end, which is a fifth of what an idle
    worker costs: here they are told. A worker that is paused as a whole, which nothing of ours
    does, would notice within a minute.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_patient = True

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the first message, or wait up to a minute for one, whatever `timeout` says.

        Raises:
            queue.Empty: if there is none.
        """
        with self.not_empty:
            if block and self._is_patient and not self._qsize():
                self.not_empty.wait(_PATIENCE_S)
        return super().get(block, _HASTE_S)

    def end_patience(self) -> None:
        """Let the threads see at once that they are to end."""
        with self.not_empty:
            self._is_patient = False
            self.not_empty.notify_all()


class Intake:
    """Where a worker's messages come from, whatever its broker is."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self._broker = broker
        self._worker = worker

    def hold(self) -> None:
        """Take no more of them."""
        if isinstance(self._broker, WakingRedisBroker):
            self._broker.hold()
            return
        for consumer in self._worker.consumers.values():
            consumer.pause()

    def resume(self) -> None:
        """Take them again."""
        if isinstance(self._broker, WakingRedisBroker):
            self._broker.resume()
            return
        for consumer in self._worker.consumers.values():
            consumer.resume()


def _run_id(message: Any) -> UUID | None:
    try:
        return UUID(message.args[0]) if len(message.args) == 1 else None
    except (TypeError, ValueError, AttributeError):
        return None
