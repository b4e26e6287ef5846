"""`reconcile`: the ledger beside what the services have counted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count, Q, Sum

from videos.ai.reported_usage import Counted, reported
from videos.exceptions import ChronosError
from videos.management.commands.usage import day
from videos.management.reporting import Failed, ReportingCommand
from videos.models import Call
from videos.usage import between

_DAYS = 30


class Command(ReportingCommand):
    """Compares, by model, the calls of some days in the ledger with those of the services."""

    help = (
        "Compare the ledger with what the services have counted of these days (UTC), by model: "
        "calls, seconds of audio, tokens. It asks OpenAI's API of usage, with OPENAI_ADMIN_KEY. "
        "Exit 1 where a service has counted more than the ledger explains."
    )
    examples = ("", "--since 2026-11-01 --until 2026-12-01 --json", "--tolerance 0.05")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since", type=day, help="Inclusive, YYYY-MM-DD; without it, 30 days before --until."
        )
        parser.add_argument("--until", type=day, help="Exclusive; without it, today.")
        parser.add_argument(
            "--tolerance",
            type=float,
            default=0.01,
            metavar="SHARE",
            help="What may be unexplained: services round, and book late. Default 0.01.",
        )

    def perform(self, **options: Any) -> Any:
        until: date = options["until"] or datetime.now(UTC).date()
        since: date = options["since"] or until - timedelta(days=_DAYS)
        rows = []
        for service in (Call.Service.TRANSCRIPTION, Call.Service.EMBEDDING):
            try:
                theirs = reported(service, since, until)
            except ChronosError as error:
                raise Failed(str(error), code=error.code) from None
            ours, unknown = _booked(service, since, until)
            for model in sorted({*ours, *theirs}):
                mine = ours.get(model, _NOTHING)
                counted = theirs.get(model, _NOTHING)
                rows.append(
                    {
                        "service": service.value,
                        "model": model,
                        "ledger": asdict(mine),
                        "unknown_calls": unknown.get(model, 0),
                        "reported": asdict(counted),
                        "explained": _explains(
                            mine, unknown.get(model, 0), counted, options["tolerance"]
                        ),
                    }
                )
        return {"since": f"{since}", "until": f"{until}", "rows": rows}

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(f"From {document['since']} on, and before {document['until']} (UTC):")
        for row in document["rows"]:
            ours, theirs = row["ledger"], row["reported"]
            self.stdout.write(
                f"{row['model']}: calls {ours['calls']} + {row['unknown_calls']} unknown, reported "
                f"{theirs['calls']}; audio {ours['audio_seconds']:.0f} s, reported "
                f"{theirs['audio_seconds']:.0f} s; tokens {ours['tokens']}, reported "
                f"{theirs['tokens']}{'' if row['explained'] else '  UNEXPLAINED'}"
            )
        if not document["rows"]:
            self.stdout.write("Nothing was used, and nothing is reported.")

    def conclude(self, document: Any, **options: Any) -> None:
        strange = [row["model"] for row in document["rows"] if not row["explained"]]
        if strange:
            raise Failed(
                f"More was counted than the ledger explains, of {', '.join(strange)}: another "
                "program uses the same organization, or a ledger was lost."
            )


_NOTHING = Counted(0, 0.0, 0)


def _booked(service: str, since: date, until: date) -> tuple[dict[str, Counted], dict[str, int]]:
    """Return what was answered, and how many calls are of unknown outcome, by model."""
    answered = Q(state=Call.State.ANSWERED)
    calls = Call.objects.filter(between(since, until), service=service).order_by()
    rows = calls.values("model").annotate(
        calls=Count("id", filter=answered),
        audio_seconds=Sum("audio_seconds", filter=answered, default=0.0),
        tokens=Sum("tokens", filter=answered, default=0),
        unknown=Count("id", filter=Q(state__in=[Call.State.UNKNOWN, Call.State.SENT])),
    )
    found = list(rows)
    booked = {
        row["model"]: Counted(row["calls"], row["audio_seconds"], row["tokens"]) for row in found
    }
    return booked, {row["model"]: row["unknown"] for row in found}


def _explains(ours: Counted, unknown: int, theirs: Counted, tolerance: float) -> bool:
    """Whether what a service has counted is what we have booked, or may be, and no more.

    What calls of unknown outcome used, nobody can tell: each may be as large as an average one.
    """
    most_calls = ours.calls + unknown
    share = most_calls / ours.calls if ours.calls else None
    if theirs.calls > most_calls * (1 + tolerance):
        return False
    if share is None:
        return True
    return theirs.audio_seconds <= ours.audio_seconds * share * (
        1 + tolerance
    ) and theirs.tokens <= ours.tokens * share * (1 + tolerance)
