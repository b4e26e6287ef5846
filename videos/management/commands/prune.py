"""`prune`: delete what is older than it is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from videos.management.reporting import ReportingCommand
from videos.pipeline import retention


class Command(ReportingCommand):
    """Does at once what workers' sweeps do as histories grow old."""

    help = (
        "Delete completed runs with their steps, events, calls, webhook deliveries and stored "
        "audio older than CHRONOS_KEEP_RUNS_DAYS, CHRONOS_KEEP_CALLS_DAYS and "
        "CHRONOS_KEEP_AUDIO_DAYS. The sums of calls stay."
    )
    examples = ("--dry-run", "--json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def perform(self, **options: Any) -> Any:
        pruned = retention.prunable() if options["dry_run"] else retention.prune()
        return asdict(pruned) | {"dry_run": options["dry_run"]}

    def show(self, document: Any, **options: Any) -> None:
        done = "would be deleted" if document["dry_run"] else "deleted"
        self.stdout.write(
            f"{done}: {document['runs']} run(s) with {document['steps']} step(s), "
            f"{document['events']} event(s), {document['calls']} call(s), "
            f"{document['deliveries']} webhook deliveries, {document['audio']} file(s) of audio"
        )
