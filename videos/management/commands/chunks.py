"""`chunks`: what a video was cut into."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from videos.documents import chunk_documents
from videos.management.reporting import ReportingCommand, find_videos


class Command(ReportingCommand):
    """Prints the chunks in force."""

    help = "Print a video's chunks, with their times and words."
    examples = ("0193a5c2-… --json",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("video", metavar="VIDEO")

    def perform(self, **options: Any) -> Any:
        (video,) = find_videos([options["video"]])
        return {"chunks": chunk_documents(video)}

    def show(self, document: Any, **options: Any) -> None:
        for chunk in document["chunks"]:
            self.stdout.write(
                f"{chunk['index']:>4}  {chunk['start']:.1f}-{chunk['end']:.1f} s  "
                f"{chunk['word_count']} words  {chunk['embedding_model'] or 'not embedded'}"
            )
            self.stdout.write(f"      {chunk['text']}\n")
