"""`embedding_models`: whose vectors there are, which serve searches, and the way back."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser

from videos.exceptions import ChronosError
from videos.management.reporting import Failed, ReportingCommand
from videos.pipeline import embedding_models
from videos.pipeline.vectors import Space


class Command(ReportingCommand):
    """Shows how far each embedding model's vectors are; switches, and drops what is old."""

    help = (
        "Show how far each embedding model's vectors are. With --serve, let searches use another "
        "one's at once, as to go back after a change; with --drop, delete a model's vectors."
    )
    examples = (
        "",
        "--serve text-embedding-3-small/1536",
        "--serve text-embedding-3-small/1536 --incomplete",
        "--drop text-embedding-3-small/1536",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--serve", type=_space, metavar="MODEL/DIMENSIONS")
        change.add_argument("--drop", type=_space, metavar="MODEL/DIMENSIONS")
        parser.add_argument(
            "--incomplete",
            action="store_true",
            help="Serve a model that some videos have no vectors of: they are found by words.",
        )

    def perform(self, **options: Any) -> Any:
        dropped = 0
        try:
            if options["serve"]:
                embedding_models.serve(options["serve"], incomplete=options["incomplete"])
            if options["drop"]:
                dropped = embedding_models.drop(options["drop"], self._tell)
        except ChronosError as error:
            raise Failed(str(error), code=error.code) from error
        models = [
            {
                "model": row.space.model,
                "dimensions": row.space.dimensions,
                "chunks": row.chunks,
                "lacking_videos": row.lacking_videos,
                "serves": row.is_serving,
                "configured": row.is_configured,
                "indexed": row.has_index,
            }
            for row in embedding_models.filled()
        ]
        return {"models": models, "dropped": dropped}

    def _tell(self, dropped: int) -> None:
        self.say(f"{dropped} vectors dropped")

    def show(self, document: Any, **options: Any) -> None:
        for row in document["models"]:
            uses = [use for use in ("serves", "configured", "indexed") if row[use]]
            lacks = row["lacking_videos"]
            self.stdout.write(
                f"{row['model']}/{row['dimensions']}: {row['chunks']} chunks, "
                f"{f'{lacks} video(s) lack it' if lacks else 'complete'}"
                + (f" ({', '.join(uses)})" if uses else "")
            )
        if not document["models"]:
            self.stdout.write("Nothing has been embedded yet.")


def _space(text: str) -> Space:
    """Return what `MODEL/DIMENSIONS` names, for argparse to refuse anything else."""
    model, _, dimensions = text.rpartition("/")
    if not model or not dimensions.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not MODEL/DIMENSIONS, as this command lists them")
    return Space(model, int(dimensions))
