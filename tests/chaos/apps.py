"""Writes every claim down: also those of the processes of their own, which no boundary kills."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    """Installed in whatever process of a lane loads Django."""

    name = "tests.chaos"

    def ready(self) -> None:
        """Have each claim add a line to the lane's log: when, run, token, process."""
        folder = os.environ.get("CHAOS_FOLDER")
        if folder:
            _log_claims(Path(folder) / "claims.log")


def _log_claims(log: Path) -> None:
    from videos.durable import claims

    original = claims.Claim.__init__

    def logged(claim: claims.Claim, *args: object, **options: object) -> None:
        original(claim, *args, **options)  # type: ignore[arg-type]
        line = [time.time(), str(claim.run.pk), claim.token, os.getpid()]
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    claims.Claim.__init__ = logged  # type: ignore[assignment, method-assign]
