"""What every command of ours shares: `--json`, exit codes, help with examples."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from django.db import OperationalError, ProgrammingError, connection
from django.db.models import Model, QuerySet

from videos import checks
from videos.documents import with_runs
from videos.models import Run, Video
from videos.text.timecodes import clock

Found = TypeVar("Found", bound=Model)

#: SQLSTATE of a table that does not exist.
_UNDEFINED_TABLE = "42P01"
_MAX_DIGITS = 9


class Failed(CommandError):
    """Ends a command with exit code 1; code and field are for `--json`."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "failed",
        field: str | None = None,
        returncode: int = 1,
    ) -> None:
        super().__init__(message, returncode=returncode)
        self.code = code
        self.field = field


class WrongUsage(Failed):
    """Ends a command with exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="usage", returncode=2)


def count(text: str) -> int:
    """Return a whole number of 0 or more, for argparse to refuse anything else."""
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999,999,999")
    return int(text)


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the examples."""


class ReportingCommand(BaseCommand):
    """A command whose result is one document, printed as JSON or for people."""

    #: Ours: to look at every page, form and model takes Django as long as all else.
    requires_system_checks = [checks.OURS]
    #: Lines of the help's end, each a command as a user types it.
    examples: Iterable[str] = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Show the examples under the help."""
        lines = "\n".join(f"  {prog_name} {subcommand} {line}".rstrip() for line in self.examples)
        return super().create_parser(
            prog_name,
            subcommand,
            formatter_class=_Formatter,
            epilog=f"examples:\n{lines}" if lines else None,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--json`; commands add their own and call this."""
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one JSON document on standard output, and nothing else.",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Print what is wrong with arguments as a document, too, where `--json` is among them."""
        if "--json" in argv:
            try:
                self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
            except CommandError as error:
                self._print_failure(WrongUsage(str(error).removeprefix("Error: ")))
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """Perform the command and print its document, or its failure."""
        try:
            document = self._perform_with_database(**options)
        except Failed as failure:
            if options["as_json"]:
                self._print_failure(failure)
            raise
        try:
            if options["as_json"]:
                self._print_json(document)
            elif document is not None:
                self.show(document, **options)
            self.stdout.flush()
        except BrokenPipeError:
            # Who read it has enough, as `head` has; Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.conclude(document, **options)

    def _print_failure(self, failure: Failed) -> None:
        error = {"code": failure.code, "message": str(failure), "field": failure.field}
        self._print_json({"error": error})

    def _perform_with_database(self, **options: Any) -> Any:
        try:
            return self.perform(**options)
        except ProgrammingError as error:
            if getattr(error.__cause__, "sqlstate", "") != _UNDEFINED_TABLE:
                raise
            raise Failed("The database has no tables yet: run `manage.py migrate`.") from None
        except OperationalError as error:
            said = " ".join(str(error).split())
            raise Failed(f"The database cannot be reached: {said}") from None

    @abstractmethod
    def perform(self, **options: Any) -> Any:
        """Do the work and return the document."""

    @abstractmethod
    def show(self, document: Any, **options: Any) -> None:
        """Print the document for people."""

    def conclude(self, document: Any, **options: Any) -> None:
        """Raise what the command ends with once its document is printed; nothing, mostly."""

    def show_warnings(self, video: dict[str, Any], limit: int = 10) -> None:
        """Print what a video document warns of, each with its seconds."""
        warnings = video["warnings"]
        for warning in warnings[:limit]:
            at = "" if warning["start"] is None else f"{clock(warning['start'])} "
            self.stdout.write(f"    {warning['code']}: {at}{warning['message']}")
        if len(warnings) > limit:
            self.stdout.write(f"    and {len(warnings) - limit} more: see --json")

    def say(self, message: str) -> None:
        """Tell something that is not the result."""
        print(message, file=sys.stderr, flush=True)

    def _print_json(self, document: Any) -> None:
        self.stdout.write(json.dumps(document, ensure_ascii=False))


def waits(waiting: dict[str, str | None]) -> str:
    """Say for people why something waits, and until when."""
    until = f" until {waiting['until']}" if waiting["until"] else ""
    return f"waits ({waiting['reason']}{until})"


def estimated_rows(model: type[Model]) -> int:
    """Return how many rows Postgres estimates a table to have, without reading it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [model._meta.db_table],
        )
        rows: int = cursor.fetchone()[0]
    return rows


def find_creator(name: str) -> Any:
    """Return the user of that name.

    Raises:
        Failed: if there is none.
    """
    users = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name.encode(errors="replace").decode())
    except users.DoesNotExist:
        raise Failed(f"There is no creator {name!r}.", code="not_found", field="creator") from None


def find_videos(ids: Iterable[str]) -> list[Video]:
    """Return the videos of these ids, each once, in their order.

    Raises:
        Failed: naming the first id that is unknown.
    """
    return _find(ids, all_videos(), "video")


def find_runs(ids: Iterable[str]) -> list[Run]:
    """Return the runs of these ids, each once, in their order.

    Raises:
        Failed: naming the first id that is unknown.
    """
    return _find(ids, Run.objects.select_related("creator"), "run")


def _find(ids: Iterable[str], among: QuerySet[Found], what: str) -> list[Found]:
    wanted = list(ids)
    known = {str(row.pk): row for row in among.filter(pk__in=filter(_is_uuid, wanted))}
    rows = []
    for text in wanted:
        row = known.get(str(UUID(text))) if _is_uuid(text) else None
        if row is None:
            raise Failed(f"There is no {what} {text!r}.", code="not_found", field=what)
        rows.append(row)
    return list(dict.fromkeys(rows))


def operator() -> str:
    """Return the name of whoever runs the command; empty for one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user.
        return ""


def all_videos() -> QuerySet[Video]:
    """Return every creator's videos: who may run commands is an operator."""
    return with_runs(Video.objects.all())


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
