"""`cancel`: stop processing videos."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import video_document
from videos.management.reporting import ReportingCommand, find_videos


class Command(ReportingCommand):
    """Cancels waiting runs at once, and running ones at their next step."""

    help = "Stop processing videos. What is finished stays, and `reprocess` goes on from there."
    examples = ("0193a5c2-…",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("videos", nargs="+", metavar="VIDEO")

    def perform(self, **options: Any) -> Any:
        for video in find_videos(options["videos"]):
            video.cancel()
        return {"videos": [video_document(video) for video in find_videos(options["videos"])]}

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            self.stdout.write(f"{video['id']}  {video['status']}  {video['title']}")
