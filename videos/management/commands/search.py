"""`search`: the moment in which something was said."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from videos.documents import hit_document
from videos.exceptions import ChronosError
from videos.management.reporting import (
    Failed,
    ReportingCommand,
    WrongUsage,
    count,
    find_creator,
    find_videos,
)
from videos.models import Video
from videos.search import MODES, search
from videos.text.timecodes import clock


class Command(ReportingCommand):
    """Searches all creators' videos, or one's, or one video."""

    help = "Find the moments in which something was said."
    examples = (
        '"how plants make sugar"',
        '"compound interest" --creator ada --limit 3 --json',
        '"compound interest" --explain',
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("query", metavar="QUERY")
        parser.add_argument("--creator", help="Only this creator's videos.")
        parser.add_argument("--video", help="Only this video.")
        parser.add_argument("--limit", type=count, default=10)
        parser.add_argument("--mode", choices=MODES, default="hybrid")
        parser.add_argument("--language", help="Only videos in this one, ISO 639-1.")
        parser.add_argument("--speaker", default="", help="Only what this one says.")
        parser.add_argument("--explain", action="store_true", help="Say why each was found.")

    def perform(self, **options: Any) -> Any:
        if not options["query"].strip():
            raise WrongUsage("There is nothing to search for.")
        videos = Video.objects.all()
        if options["creator"]:
            videos = videos.filter(creator=find_creator(options["creator"]))
        if options["video"]:
            videos = videos.filter(pk=find_videos([options["video"]])[0].pk)
        if options["language"]:
            videos = videos.filter(detected_language=options["language"])
        try:
            hits = search(
                options["query"], videos, options["limit"], options["mode"], options["speaker"]
            )
        except ChronosError as error:
            raise Failed(str(error), code=error.code) from None
        return {
            "query": options["query"],
            "results": [
                hit_document(hit) | ({"why": asdict(hit.why)} if options["explain"] else {})
                for hit in hits
            ],
        }

    def show(self, document: Any, **options: Any) -> None:
        for hit in document["results"]:
            self.stdout.write(f"{clock(hit['start']):>7}  {hit['title']}: {hit['snippet']}")
            if why := hit.get("why"):
                rank = why["vector_rank"] or "none of the nearest"
                order = ", in this order" if why["words"] > 1 else ""
                said = f"{min(why['words'], 1):.0%}{order}"
                self.stdout.write(f"{'':>9}words said: {said}; vector: {rank}")
        if not document["results"]:
            self.stdout.write("Nothing was found.")
