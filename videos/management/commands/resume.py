"""`resume`: let runs start that were paused."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import pause_document
from videos.durable import admission, pauses
from videos.management import pausing
from videos.management.reporting import ReportingCommand
from videos.models import Pause


class Command(ReportingCommand):
    """Takes pauses away; what waited starts within its limits."""

    help = "End pauses. With --all, every one; else those that are named."
    examples = ("--all", "--creator ada", "--queue bulk --json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        pausing.add_targets(parser)

    def perform(self, **options: Any) -> Any:
        targets = pausing.targets(options)
        found = (
            Pause.objects.all() if options["all"] else Pause.objects.filter(pausing.any_of(targets))
        )
        ended = [pause_document(pause) for pause in found.select_related("creator")]
        pauses.end(found)
        return {"resumed": ended, "started": admission.admit()}

    def show(self, document: Any, **options: Any) -> None:
        for pause in document["resumed"]:
            self.stdout.write(f"resumed: {pause['kind']} {pause['name'] or ''}".rstrip())
        if not document["resumed"]:
            self.stdout.write("Nothing was paused.")
