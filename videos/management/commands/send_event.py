"""`send_event`: send an event, as code would."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from videos import events
from videos.exceptions import EventRefused
from videos.management.reporting import Failed, ReportingCommand


class Command(ReportingCommand):
    """Validates, stores and dispatches an event."""

    help = "Send an event. A wrong name or wrong data is refused by field, and nothing is stored."
    examples = (
        """video/embeddings.batch-reprocess '{"video_ids": ["0193a5c2-…"]}'""",
        """my/event '{"name": "Ada"}' --key greeting-1 --json""",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("data", metavar="JSON")
        parser.add_argument("--key", help="The same key twice is one event.")

    def perform(self, **options: Any) -> Any:
        try:
            data = json.loads(options["data"])
            if not isinstance(data, dict):
                raise EventRefused("The data is not a JSON object.", field="data")
            event = events.send(options["name"], data, options["key"])
        except (ValueError, RecursionError) as error:
            raise Failed(
                f"The data is not valid JSON: {error}.", code=EventRefused.code, field="data"
            ) from None
        except EventRefused as refused:
            raise Failed(str(refused), code=refused.code, field=refused.field) from None
        started = event.runs.order_by("created_at").values_list("pk", flat=True)
        return {"event_id": str(event.pk), "runs": [str(pk) for pk in started]}

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"event {document['event_id']} started {len(document['runs'])} run(s)")
