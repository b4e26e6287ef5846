"""`delete`: remove videos with all that was made of them; the ledger stays."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from videos.documents import video_document
from videos.management.reporting import ReportingCommand, WrongUsage, find_videos


class Command(ReportingCommand):
    """Deletes rows and files; a worker that is busy with one stops at its next write."""

    help = "Delete videos, their files, transcripts and chunks. What was used stays booked."
    examples = ("0193a5c2-… --yes",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("videos", nargs="+", metavar="VIDEO")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def perform(self, **options: Any) -> Any:
        videos = find_videos(options["videos"])
        if not options["yes"]:
            self._confirm(len(videos))
        document = {"videos": [video_document(video) for video in videos]}
        for video in videos:
            video.delete()
        return document

    def _confirm(self, count: int) -> None:
        if not sys.stdin.isatty():
            raise WrongUsage("Nobody is there to confirm: add --yes.")
        self.stderr.write(f"Delete {count} video(s) for good? [y/N] ", ending="")
        if input().strip().lower() not in ("y", "yes"):
            raise WrongUsage("Nothing was deleted.")

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            self.stdout.write(f"deleted  {video['id']}  {video['title']}")
