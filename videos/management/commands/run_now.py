"""`run_now`: have runs that are put off go on at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.durable import interventions
from videos.management.reporting import ReportingCommand, find_runs


class Command(ReportingCommand):
    """Ends the pause of runs that are tried again later, or wait until a time."""

    help = "Have runs that are tried again later, or wait until a time, go on now."
    examples = ("0193a5c2-…",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("runs", nargs="+", metavar="RUN")

    def perform(self, **options: Any) -> Any:
        chosen = find_runs(options["runs"])
        return {"runs": interventions.run_now(run.pk for run in chosen)}

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"{document['runs']} run(s) go on now.")
