"""`transcript`: the words of a video, timed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import FORMATS, serving_segments, transcript_document
from videos.management.reporting import Failed, ReportingCommand, find_videos


class Command(ReportingCommand):
    """Prints the transcript in force, as text, captions or JSON."""

    help = "Print a video's transcript."
    examples = ("0193a5c2-… --format vtt > lecture.vtt", "0193a5c2-… --json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("video", metavar="VIDEO")
        parser.add_argument("--format", choices=["json", *FORMATS], default="txt")

    def perform(self, **options: Any) -> Any:
        (video,) = find_videos([options["video"]])
        if options["as_json"] or options["format"] == "json":
            return transcript_document(video)
        if video.revision_id is None:
            why = f": {video.error}" if video.error else ""
            raise Failed(f"{video} has no transcript, it is {video.status}{why}", code="not_found")
        return FORMATS[options["format"]](serving_segments(video))

    def show(self, document: Any, **options: Any) -> None:
        if isinstance(document, str):
            self.stdout.write(document, ending="")
        else:
            self._print_json(document)
