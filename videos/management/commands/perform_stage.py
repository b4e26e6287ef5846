"""`perform_stage`: what a worker starts to execute a stage in quarantine."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from dramatiq.middleware import SkipMessage

from videos.conf import conf
from videos.durable import claims, execution, heartbeat, quarantine
from videos.durable.workers import Heartbeat


class Command(BaseCommand):
    """Claims a run that is queued, and executes one stage of it."""

    help = "Execute one stage of a run in this process. Workers call it; people have no need to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=UUID)
        parser.add_argument("stage")
        parser.add_argument("worker", type=UUID, nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _hand_over)
        renewing = _Heartbeat()
        renewing.start()
        try:
            is_finished = execution.run_claimed(
                options["run"], options["stage"], options["worker"], carries_on=False
            )
        except SkipMessage:
            is_finished = False
        finally:
            renewing.stop()
        if not is_finished:
            sys.exit(quarantine.SKIPPED)


class _Heartbeat(Heartbeat):
    """Ends the process once its one stage is stuck, and its run was given up."""

    def beat(self) -> None:
        super().beat()
        if heartbeat.stuck_threads():
            os._exit(quarantine.SKIPPED)


def _hand_over(*_: object) -> None:
    claims.hand_over(conf().drain_s)
