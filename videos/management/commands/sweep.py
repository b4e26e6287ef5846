"""`sweep`: look once for stuck work, as every worker does each second."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from videos.durable.sweep import sweep
from videos.management.reporting import ReportingCommand


class Command(ReportingCommand):
    """Sets stuck work going again; does nothing while another process sweeps."""

    help = "Find undispatched events, dead workers' runs, due retries and lost messages, once."

    def perform(self, **options: Any) -> Any:
        return asdict(sweep())

    def show(self, document: Any, **options: Any) -> None:
        self.stdout.write(", ".join(f"{count} {what}" for what, count in document.items()))
