"""`ingest`: make videos of media files."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import langcodes
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.management.base import CommandParser

from videos.documents import video_document
from videos.durable.capacity import live_slots, live_workers
from videos.durable.dispatch import dispatching_together
from videos.management.reporting import (
    Failed,
    ReportingCommand,
    WrongUsage,
    find_creator,
    find_videos,
)
from videos.management.waiting import OwnWorker, wait_for
from videos.models import Video
from videos.models.video import check_captions


class Command(ReportingCommand):
    """Copies files into the storage, as videos of a creator, and has them processed."""

    help = (
        "Make videos of media files. A folder is walked: every file in it becomes a video, even "
        "an empty one, which then fails with a clear error."
    )
    examples = (
        "lecture.mp4 --creator ada --create-creator --wait",
        "course/ --creator ada --language en --json",
        "lecture.mp4 --creator ada --captions lecture.vtt",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("paths", nargs="+", metavar="PATH")
        parser.add_argument("--creator", required=True, help="The creator's username.")
        parser.add_argument(
            "--create-creator",
            action="store_true",
            help="Create the creator if there is none; `changepassword` lets them sign in.",
        )
        parser.add_argument("--title", help="Default: the file's name without its extension.")
        parser.add_argument("--language", type=language, help="ISO 639-1; default: detected.")
        parser.add_argument(
            "--captions",
            metavar="FILE",
            help="SubRip or WebVTT, taken in place of speech recognition; with one PATH.",
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="Return when all are processed; 1 if any failed.",
        )

    def perform(self, **options: Any) -> Any:
        files = [file for path in options["paths"] for file in _files(path)]
        captions = _captions(options["captions"], len(files)) if options["captions"] else None
        creator = _creator(options["creator"], create=options["create_creator"])
        with OwnWorker(self.say) if options["wait"] else nullcontext() as worker:
            # Those of the last seconds are started together; where a worker lives, its sweep starts
            # what has been there for longer, and admits it.
            with dispatching_together():
                ids = [self._ingest(file, creator, captions, options).pk for file in files]
            if worker is not None:
                wait_for(ids, worker.ensure)
            elif not live_slots():
                self.say(
                    "The live workers take nothing: they are paused, about to end, or stuck."
                    if live_workers().exists()
                    else "No worker is running: start one by `manage.py rundramatiq`."
                )
        return {"videos": [video_document(video) for video in find_videos(map(str, ids))]}

    def _ingest(
        self, path: Path, creator: Any, captions: ContentFile[bytes] | None, options: dict[str, Any]
    ) -> Video:
        with path.open("rb") as content:
            return Video.objects.create(
                creator=creator,
                file=File(content, name=path.name),
                title=(options["title"] or "")[:255],
                language=options["language"] or "",
                captions=captions or "",
            )

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            reason = f": {video['error']}" if video["error"] else ""
            self.stdout.write(f"{video['id']}  {video['status']:<12}  {video['title']}{reason}")
            self.show_warnings(video)

    def conclude(self, document: Any, **options: Any) -> None:
        failed = [video for video in document["videos"] if video["status"] != "completed"]
        if options["wait"] and failed:
            raise Failed(
                f"{len(failed)} of {len(document['videos'])} videos did not complete. "
                f"{failed[0]['title']}: {failed[0]['error'] or failed[0]['status']}"
            )


def _files(named: str) -> list[Path]:
    """Return a file, or all files of a folder.

    Raises:
        Failed: if there is nothing at the path, or nothing in the folder.
    """
    path = Path(named)
    if path.is_file():
        return [path]
    if not path.is_dir() or not named:
        raise Failed(f"There is no file or folder {named!r}.", code="not_found", field="path")
    files = sorted(entry for entry in path.rglob("*") if entry.is_file())
    if not files:
        raise Failed(f"The folder {named!r} is empty.", code="not_found", field="path")
    return files


def _captions(named: str, videos: int) -> ContentFile[bytes]:
    """Return the captions for the one video.

    Raises:
        WrongUsage: if there are several videos.
        Failed: if there is no such file, or it holds no captions.
    """
    if videos != 1:
        raise WrongUsage(f"--captions goes with one video, there are {videos}.")
    path = Path(named)
    if not path.is_file():
        raise Failed(f"There is no file {named!r}.", code="not_found", field="captions")
    captions = ContentFile(path.read_bytes(), name=path.name)
    try:
        check_captions(captions)
    except ValidationError as error:
        raise Failed(
            f"{named}: {' '.join(error.messages)}", code="unreadable_captions", field="captions"
        ) from None
    return captions


def language(text: str) -> str:
    """Return an ISO 639-1 code, for argparse to refuse anything else."""
    if not re.fullmatch(r"[a-z]{2}", text) or not langcodes.Language.get(text).is_valid():
        raise ArgumentTypeError(f"{text!r} is not an ISO 639-1 code, such as en")
    return text


def _creator(name: str, *, create: bool) -> Any:
    try:
        return find_creator(name)
    except Failed as failure:
        if not create:
            raise Failed(
                f"{failure} Add --create-creator to create one.",
                code="not_found",
                field="creator",
            ) from None
    users = get_user_model()
    user = users(**{users.USERNAME_FIELD: name})
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise WrongUsage(f"{name!r} is not a valid username: {'; '.join(error.messages)}") from None
    return users._default_manager.create_user(**{users.USERNAME_FIELD: name})
