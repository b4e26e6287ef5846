"""The tests' settings, with what a project adds that has a stage and a provider of its own."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.extension"]
CHRONOS_TRANSCRIBER = "tests.extension.dictation.Dictation"
CHRONOS_TRANSCRIPTION_MODEL = "dictate-1"
CHRONOS_LIMITS = {"chat": {"requests_per_minute": 100}}
CHRONOS_PRICES = {"summary-1": {"million_tokens": 1_000.0}}
