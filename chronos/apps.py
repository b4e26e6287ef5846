"""The project's configuration as the last of its apps."""

from __future__ import annotations

import gc

from django.apps import AppConfig


class ChronosConfig(AppConfig):
    """What is done once all apps are there."""

    name = "chronos"

    def ready(self) -> None:
        """Look for garbage from now on, but not among what was loaded: it stays.

        By itself Python looks after every 700 objects, which takes a twentieth of what a worker
        takes for a video. What has lived a while is looked at about as often: else workers took
        10 MB more.
        """
        gc.freeze()
        gc.set_threshold(20_000, 2, 2)
