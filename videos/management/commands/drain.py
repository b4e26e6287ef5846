"""`drain`: have workers end after the calls that they have in flight, for a deployment."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser

from videos.durable.capacity import live_workers
from videos.management import pausing
from videos.management.reporting import Failed, ReportingCommand, WrongUsage
from videos.models import Worker

_LOOK_S = 0.5


class Command(ReportingCommand):
    """Asks workers to take nothing more, and to end once what they have asked for has come."""

    help = (
        "Have workers take nothing more, and end after their calls in flight; what they have not "
        "begun goes to others. A supervisor that restarts only what failed leaves them ended."
    )
    examples = ("--all --wait 900", "--worker 4711", "--queue bulk --json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", help="All workers that live now.")
        parser.add_argument(
            "--queue", action="append", default=[], metavar="Q", help="Those that serve it."
        )
        pausing.add_workers(parser)
        parser.add_argument(
            "--wait",
            type=float,
            metavar="S",
            help="Return once they have ended; exit 1 if they have not after S seconds.",
        )

    def perform(self, **options: Any) -> Any:
        chosen = _chosen(options)
        ids = [worker.pk for worker in chosen]
        Worker.objects.filter(pk__in=ids).update(drain_requested=True)
        until = time.monotonic() + (options["wait"] or 0.0)
        while (left := live_workers().filter(pk__in=ids)) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        living = {worker.pk for worker in left}
        return {
            "workers": [
                {
                    "id": str(worker.pk),
                    "pid": worker.pid,
                    "host": worker.host,
                    "ended": worker.pk not in living,
                }
                for worker in chosen
            ]
        }

    def show(self, document: Any, **options: Any) -> None:
        for worker in document["workers"]:
            became = "has ended" if worker["ended"] else "drains"
            self.stdout.write(f"{worker['pid']} on {worker['host']}: {became}")
        if not document["workers"]:
            self.stdout.write("No worker is alive.")

    def conclude(self, document: Any, **options: Any) -> None:
        left = [worker for worker in document["workers"] if not worker["ended"]]
        if options["wait"] is not None and left:
            raise Failed(f"{len(left)} worker(s) still drain after {options['wait']:.0f} s.")


def _chosen(options: dict[str, Any]) -> list[Worker]:
    if not (options["all"] or options["queue"] or options["worker"]):
        raise WrongUsage("Name which: --all, --queue or --worker.")
    chosen = {worker.pk: worker for worker in pausing.find_workers(options["worker"])}
    for worker in live_workers().order_by("started_at"):
        serves = not worker.queues or any(queue in worker.queues for queue in options["queue"])
        if options["all"] or (options["queue"] and serves):
            chosen[worker.pk] = worker
    return list(chosen.values())
