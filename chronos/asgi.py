"""The ASGI application, for a web server of your choice."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from chronos.embedded.client import provide_for_process
from chronos.environment import read_environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chronos.settings")
provide_for_process(read_environment())

application = get_asgi_application()
