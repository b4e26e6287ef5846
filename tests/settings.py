"""The project's settings, with a durable function of another app, and the example's courses."""

import os
import sys

from chronos.settings import *  # noqa: F403
from chronos.settings import BASE_DIR, INSTALLED_APPS

sys.path.append(str(BASE_DIR / "examples" / "courses"))
INSTALLED_APPS = [*INSTALLED_APPS, "tests.letters", "courses"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CHRONOS_RETRY_BACKOFF_S = 0.05
CHRONOS_SWEEP_S = 0.1
#: A test that ends a worker while its service hangs is not to wait for it.
CHRONOS_DRAIN_S = float(os.environ.get("CHRONOS_DRAIN_S", "1"))
#: What the tests say in tones has no voice; the tests of listening turn it on.
CHRONOS_LISTENING = False
