"""`rerun`: run a durable function again, whole or from a step, as it was or with other input."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from videos.documents import run_document
from videos.durable import interventions
from videos.management.reporting import Failed, ReportingCommand, WrongUsage, find_runs


class Command(ReportingCommand):
    """Starts a new run of a function; videos are processed again by `reprocess`."""

    help = "Run a durable function again: the new run keeps the steps that came before --from."
    examples = ("0193a5c2-…", '0193a5c2-… --from send --data \'{"name": "Ada"}\'')

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", metavar="RUN")
        parser.add_argument("--from", dest="from_step", metavar="STEP", help="One of its steps.")
        parser.add_argument("--data", metavar="JSON", help="Another input; without it, the same.")

    def perform(self, **options: Any) -> Any:
        (run,) = find_runs([options["run"]])
        try:
            again = interventions.rerun(run, _data(options["data"]), options["from_step"])
        except ValueError as error:
            raise Failed(str(error)) from None
        return {"run": run_document(again)}

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"{document['run']['id']}  {document['run']['function']}")


def _data(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise WrongUsage(f"--data is no JSON object: {text}")
    return data
