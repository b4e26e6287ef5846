"""The project's settings, with a durable function of another app, and the example's courses."""

from chronos.settings import *  # noqa: F403
from chronos.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.letters", "courses"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CHRONOS_RETRY_BACKOFF_S = 0.05
CHRONOS_SWEEP_S = 0.1
#: What the tests say in tones has no voice; the tests of listening turn it on.
CHRONOS_LISTENING = False
