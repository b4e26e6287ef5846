"""`runs`: what was executed, step by step."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser
from django.db.models import QuerySet

from videos.documents import run_document
from videos.durable import pauses
from videos.durable.explanation import why_nothing
from videos.management.reporting import ReportingCommand, WrongUsage, count, find_videos, waits
from videos.models import Event, Run


class Command(ReportingCommand):
    """Prints the newest runs with their steps."""

    help = "Show runs with their steps, newest first."
    examples = ("", "0193a5c2-… --json", "--event 0193a5c2-…", "--state failed --limit 0")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("video", nargs="?", metavar="VIDEO")
        parser.add_argument("--event", type=UUID, help="What this event started, or why nothing.")
        parser.add_argument("--state", choices=Run.State.values)
        parser.add_argument("--function", metavar="F")
        parser.add_argument("--error-code", metavar="CODE", help="Failed by this cause.")
        parser.add_argument("--limit", type=count, default=20, help="Newest first; 0: all.")

    def perform(self, **options: Any) -> Any:
        newest = pauses.with_ends(Run.objects.prefetch_related("steps"))
        newest = newest.order_by("-created_at", "-pk")
        if options["video"]:
            newest = newest.filter(video__in=find_videos([options["video"]]))
        for name in ("state", "function", "error_code"):
            if options[name]:
                newest = newest.filter(**{name: options[name]})
        if options["event"] is None:
            return {"runs": _documents(newest, options["limit"])}
        event = Event.objects.filter(pk=options["event"]).first()
        if event is None:
            raise WrongUsage(f"There is no event {options['event']}.")
        return {
            "event": {"id": str(event.pk), "name": event.name, "why_nothing": why_nothing(event)},
            "runs": _documents(newest.filter(event=event), options["limit"]),
        }

    def show(self, document: Any, **options: Any) -> None:
        if why := document.get("event", {}).get("why_nothing"):
            self.stdout.write(f"No runs. {why}")
        elif not document["runs"]:
            self.stdout.write("No runs.")
        for run in document["runs"]:
            waiting = run["waiting_for"]
            failed = ": ".join(filter(None, (run["error_code"], run["error"])))
            note = waits(waiting) if waiting else failed
            of_video = f"video {run['video_id']}" if run["video_id"] else ""
            said = (run["id"], run["function"], run["state"], of_video, note)
            self.stdout.write("  ".join(filter(None, said)))
            for step in run["steps"]:
                self.stdout.write(
                    f"    {step['stage']:<11} {step['key']:<24} {step['state']:<9} "
                    f"attempts: {step['attempts']}  {step['error'] or ''}".rstrip()
                )


def _documents(runs: QuerySet[Run], limit: int) -> list[dict[str, Any]]:
    return [run_document(run) for run in runs[: limit or None]]
