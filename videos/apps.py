"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class VideosConfig(AppConfig):
    """Video in, searchable knowledge out."""

    name = "videos"
    verbose_name = "Chronos"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register actors of every installed app, the receivers and the system checks."""
        from videos import checks, receivers  # noqa: F401

        autodiscover_modules("actors")
