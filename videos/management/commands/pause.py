"""`pause`: hold back the starts of runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from videos.documents import pause_document
from videos.durable import admission, pauses
from videos.management import pausing
from videos.management.reporting import ReportingCommand, WrongUsage, operator


class Command(ReportingCommand):
    """Holds back runs that have not started; what runs goes on to its end."""

    help = "Pause all runs, those of a queue, function or creator, a service's calls, or a worker."
    examples = (
        "--all --why deployment",
        "--creator ada --until 2026-12-01T08:00",
        "--queue bulk --json",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        pausing.add_targets(parser)
        parser.add_argument("--until", help="ISO 8601; without it, until `resume`.")
        parser.add_argument("--why", default="", help="Shown wherever it is waited for.")

    def perform(self, **options: Any) -> Any:
        until = _moment(options["until"]) if options["until"] else None
        paused = [
            pauses.begin(**target, by=operator(), why=options["why"], until=until)
            for target in pausing.targets(options)
        ]
        admission.admit()
        return {"pauses": [pause_document(pause) for pause in paused]}

    def show(self, document: Any, **options: Any) -> None:
        for pause in document["pauses"]:
            self.stdout.write(
                f"paused: {pause['kind']} {pause['name'] or ''}".rstrip()
                + (f" until {pause['until']}" if pause["until"] else "")
            )


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise WrongUsage(f"{text!r} is no time such as 2026-12-01T08:00.")
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    if moment <= timezone.now():
        raise WrongUsage(f"{text} is over.")
    return moment
