"""The project's settings, with limits that make a round short and competition real."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]
CHRONOS_CREATOR_CONCURRENCY = 1
CHRONOS_CREATOR_STARTS_PER_MINUTE = 0
CHRONOS_RETRY_BACKOFF_S = 0.2
CHRONOS_SWEEP_S = 1.0
CHRONOS_SERVICE_TIMEOUT_S = float(os.environ.get("CHAOS_TIMEOUT_S", 3.0))
CHRONOS_DISK_WAIT_S = 2.0
CHRONOS_BREAKER_OPEN_S = 1.0
LOGGING = {"version": 1, "disable_existing_loggers": False}
