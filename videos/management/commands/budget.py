"""`budget`: what a month may cost, of a creator and of the whole site."""

from __future__ import annotations

from argparse import ArgumentTypeError
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandParser

from videos.durable import admission
from videos.durable.paid import budgets
from videos.management.reporting import ReportingCommand, WrongUsage, find_creator
from videos.models import Budget


class Command(ReportingCommand):
    """Shows budgets and what was spent of them; sets one, or takes it away."""

    help = (
        "Show what was spent this month (UTC) of each budget; with --month or --remove, change the "
        "site's or a creator's. Once one is spent, runs that pay wait as `budget`."
    )
    examples = ("", "--creator ada --month 25", "--site --month 400", "--creator ada --remove")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--creator", help="Only this creator's.")
        whose.add_argument("--site", action="store_true", help="Only the whole site's.")
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--month", type=amount, metavar="USD", help="What a month may cost.")
        change.add_argument("--remove", action="store_true", help="Have no limit.")

    def perform(self, **options: Any) -> Any:
        creator = find_creator(options["creator"]) if options["creator"] else None
        chosen = Budget.objects.filter(creator=creator)
        is_named = creator is not None or options["site"]
        if options["month"] is not None or options["remove"]:
            if not is_named:
                raise WrongUsage("Say whose: --creator NAME or --site.")
            if options["remove"]:
                chosen.delete()
            else:
                Budget.objects.update_or_create(
                    creator=creator, defaults={"month_usd": options["month"]}
                )
            budgets.changed()
            admission.admit()
        wanted = set(chosen.values_list("pk", flat=True)) if is_named else None
        return {
            "budgets": [
                {
                    "creator": str(spent.budget.creator) if spent.budget.creator_id else None,
                    "month_usd": float(spent.budget.month_usd),
                    "spent_usd": float(spent.usd),
                    "share": round(spent.share, 4),
                }
                for spent in budgets.all_spent()
                if wanted is None or spent.budget.pk in wanted
            ]
        }

    def show(self, document: Any, **options: Any) -> None:
        for row in document["budgets"]:
            self.stdout.write(
                f"{row['creator'] or '(site)':<16} ${row['spent_usd']:.2f} of "
                f"${row['month_usd']:.2f} this month ({row['share']:.0%})"
            )
        if not document["budgets"]:
            self.stdout.write("Removed." if options["remove"] else "There is no such budget.")


def amount(text: str) -> Decimal:
    """Return an amount of USD, for argparse to refuse anything else."""
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd < 10**10:
        raise ArgumentTypeError(f"{text!r} is not an amount of USD, such as 25 or 7.50")
    return usd.quantize(Decimal("0.01"))
