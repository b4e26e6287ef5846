"""`runs`: what was executed, step by step."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import run_document
from videos.management.reporting import ReportingCommand, count, find_videos
from videos.models import Run


class Command(ReportingCommand):
    """Prints the newest runs with their steps."""

    help = "Show runs with their steps, newest first."
    examples = ("", "0193a5c2-… --json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("video", nargs="?", metavar="VIDEO")
        parser.add_argument("--limit", type=count, default=20, help="Newest first; 0: all.")

    def perform(self, **options: Any) -> Any:
        newest = Run.objects.prefetch_related("steps").order_by("-created_at", "-pk")
        if options["video"]:
            newest = newest.filter(video__in=find_videos([options["video"]]))
        return {"runs": [run_document(run) for run in newest[: options["limit"] or None]]}

    def show(self, document: Any, **options: Any) -> None:
        for run in document["runs"]:
            waiting = run["waiting_for"]
            note = f"waits for {waiting['reason']}" if waiting else run["error"] or ""
            self.stdout.write(f"{run['id']}  {run['function']}  {run['state']}  {note}".rstrip())
            for step in run["steps"]:
                self.stdout.write(
                    f"    {step['stage']:<11} {step['key']:<24} {step['state']:<9} "
                    f"attempts: {step['attempts']}  {step['error'] or ''}".rstrip()
                )
