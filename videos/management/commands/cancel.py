"""`cancel`: stop processing videos."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import video_document
from videos.durable import interventions
from videos.management.reporting import ReportingCommand, WrongUsage, find_runs, find_videos


class Command(ReportingCommand):
    """Cancels waiting runs at once, and running ones at their next step."""

    help = "Stop processing videos, or runs. What is finished stays, and `reprocess` goes on there."
    examples = ("0193a5c2-…", "--run 0193a5c2-…")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("videos", nargs="*", metavar="VIDEO")
        parser.add_argument("--run", action="append", default=[], dest="runs", metavar="RUN")

    def perform(self, **options: Any) -> Any:
        if not (options["videos"] or options["runs"]):
            raise WrongUsage("Name videos, or runs by --run.")
        chosen = find_runs(options["runs"])
        for video in find_videos(options["videos"]):
            video.cancel()
        document: dict[str, Any] = {
            "videos": [video_document(video) for video in find_videos(options["videos"])]
        }
        if chosen:
            document["runs"] = [str(run.pk) for run in interventions.cancel(chosen)]
        return document

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            self.stdout.write(f"{video['id']}  {video['status']}  {video['title']}")
        for run in document.get("runs", ()):
            self.stdout.write(f"{run}  is being cancelled")
        for run in set(options["runs"]) - set(document.get("runs", ())):
            self.stdout.write(f"{run}  had ended before")
