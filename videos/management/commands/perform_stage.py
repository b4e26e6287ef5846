"""`perform_stage`: what a worker starts to perform a stage apart from its other work."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from dramatiq.middleware import SkipMessage

from videos.durable import claims, execution, quarantine
from videos.durable.workers import Heartbeat


class Command(BaseCommand):
    """Claims a run that is queued, and performs one stage of it."""

    help = "Perform one stage of a run in this process. Workers call it; people have no need to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=UUID)
        parser.add_argument("stage")
        parser.add_argument("worker", type=UUID, nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _hand_over)
        heartbeat = _Heartbeat()
        heartbeat.start()
        try:
            execution.perform(options["run"], options["stage"], options["worker"])
        except SkipMessage:
            sys.exit(quarantine.SKIPPED)
        finally:
            heartbeat.stop()


class _Heartbeat(Heartbeat):
    """Ends the process once its one stage is stuck, and its run was given up."""

    def beat(self) -> None:
        super().beat()
        if claims.stuck_threads():
            os._exit(quarantine.SKIPPED)


def _hand_over(*_: object) -> None:
    claims.hand_over()
