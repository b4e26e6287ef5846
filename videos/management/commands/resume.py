"""`resume`: let runs start that were paused."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.durable import admission
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
        found = pausing.targets(options)
        pauses = Pause.objects.select_related("creator")
        if not options["all"]:
            pauses = pauses.filter(pausing.condition(found))
        ended = [pausing.document(pause) for pause in pauses]
        pauses.filter(pk__in=[pause.pk for pause in pauses]).delete()
        return {"resumed": ended, "started": admission.admit()}

    def show(self, document: Any, **options: Any) -> None:
        for pause in document["resumed"]:
            self.stdout.write(f"resumed: {pause['kind']} {pause['name'] or ''}".rstrip())
        if not document["resumed"]:
            self.stdout.write("Nothing was paused.")
