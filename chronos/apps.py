"""The project's configuration as the last of its apps."""

from __future__ import annotations

import gc

from django.apps import AppConfig


class ChronosConfig(AppConfig):
    """What is done once all apps are there."""

    name = "chronos"

    def ready(self) -> None:
        """Look for garbage from now on, but not among what was loaded: it stays."""
        gc.freeze()
        gc.enable()
