"""Of which runs `pause` and `resume` speak."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from videos.durable.capacity import live_workers
from videos.management.reporting import WrongUsage, find_creator
from videos.models import Pause, Worker
from videos.pipeline.pausing import pausable

Kind = Pause.Kind


def add_targets(parser: CommandParser) -> None:
    """Add the options that name runs; at least one is wanted."""
    parser.add_argument("--all", action="store_true", help="All runs.")
    parser.add_argument("--queue", action="append", default=[], metavar="Q")
    parser.add_argument("--function", action="append", default=[], metavar="F")
    parser.add_argument("--service", action="append", default=[], metavar="S")
    parser.add_argument("--creator", action="append", default=[], metavar="C")
    add_workers(parser)


def add_workers(parser: CommandParser) -> None:
    """Add the option that names workers."""
    parser.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="ID",
        help="Its id, as `status --json` has it, or its process id, where only one has it.",
    )


def find_workers(names: Iterable[str]) -> list[Worker]:
    """Return the live workers of these ids or process ids.

    Raises:
        WrongUsage: for one that does not live, or of which several do.
    """
    live = list(live_workers().order_by("started_at"))
    found = []
    for name in names:
        named = [worker for worker in live if name in (str(worker.pk), str(worker.pid))]
        if len(named) != 1:
            known = ", ".join(f"{worker.pk} ({worker})" for worker in live)
            raise WrongUsage(f"Not one live worker is {name!r}. Known: {known or 'none'}.")
        found += named
    return found


def targets(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the kinds, names and creators that are named.

    Raises:
        WrongUsage: if nothing is named, or a queue or function that there is not.
        Failed: for a creator who does not exist.
    """
    found: list[dict[str, Any]] = [{"kind": Kind.ALL}] if options["all"] else []
    for kind, names in pausable().items():
        for name in options[kind]:
            if name not in names:
                raise WrongUsage(f"There is no {kind} {name!r}. Known: {', '.join(names)}.")
            found.append({"kind": kind, "name": name})
    found += [{"kind": Kind.CREATOR, "creator": find_creator(name)} for name in options["creator"]]
    found += [
        {"kind": Kind.WORKER, "name": str(worker.pk)} for worker in find_workers(options["worker"])
    ]
    if not found:
        raise WrongUsage("Name what: --all, --queue, --function, --service, --creator, --worker.")
    return found


def any_of(found: list[dict[str, Any]]) -> Q:
    """Return what tells the pauses of targets."""
    wanted = Q()
    for target in found:
        wanted |= Q(**target)
    return wanted
