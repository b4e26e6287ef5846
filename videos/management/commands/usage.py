"""`usage`: what was used and what it cost."""

from __future__ import annotations

import csv
from argparse import ArgumentTypeError
from datetime import date
from typing import Any

from django.core.management.base import CommandParser

from videos.management.reporting import ReportingCommand, find_creator
from videos.usage import UsageRow, summary


class Command(ReportingCommand):
    """Sums the ledger by creator and month."""

    help = "Show usage and cost by creator and month (UTC)."
    examples = (
        "--creator ada",
        "--since 2026-11-01 --until 2026-12-01 --csv > november.csv",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--creator", help="Only this creator.")
        parser.add_argument("--since", type=day, help="Inclusive, YYYY-MM-DD.")
        parser.add_argument("--until", type=day, help="Exclusive, YYYY-MM-DD.")
        parser.add_argument("--csv", action="store_true", dest="as_csv")

    def perform(self, **options: Any) -> Any:
        creator = find_creator(options["creator"]) if options["creator"] else None
        return {"rows": summary(creator, options["since"], options["until"])}

    def show(self, document: Any, **options: Any) -> None:
        fields = list(UsageRow.__annotations__)
        if options["as_csv"]:
            writer = csv.DictWriter(self.stdout, fields)
            writer.writeheader()
            writer.writerows(document["rows"])
            return
        if not document["rows"]:
            self.stdout.write("Nothing was used.")
            return
        width = max(16, *(len(row["creator"]) for row in document["rows"]))
        self.stdout.write(
            f"{'month':<7}  {'creator':<{width}} {'audio, s (calls)':>20} {'tokens (calls)':>20} "
            f"{'unknown calls':>14} {'failed calls':>13} {'cost, USD':>12}"
        )
        for row in document["rows"]:
            audio = f"{row['audio_seconds']:,.1f} ({row['transcription_calls']:,})"
            tokens = f"{row['embedding_tokens']:,} ({row['embedding_calls']:,})"
            creator = row["creator"] or "(searches)"
            self.stdout.write(
                f"{row['month']}  {creator:<{width}} {audio:>20} {tokens:>20} "
                f"{row['unknown_calls']:>14,} {row['failed_calls']:>13,} {row['cost_usd']:>12,.4f}"
            )


def day(text: str) -> date:
    """Return a date, for argparse to refuse anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date, such as 2026-11-01") from None
