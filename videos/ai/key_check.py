"""Whether a service takes the configured key, asked without paying for anything."""

from __future__ import annotations

from contextlib import closing

from videos.ai.openai_client import client, timeout, translated
from videos.conf import conf
from videos.exceptions import ChronosError, Misconfigured, Rejected
from videos.models import Call

_WITHIN_S = 10.0


def works(service: str) -> bool:
    """Return whether the list of models (`GET /models`) is not refused to the key.

    False also where nobody can tell: the service does not answer, or is of another kind.
    """
    if service not in Call.Service.values:
        return False
    settings = conf()
    base_url: str | None = getattr(settings, f"{service}_base_url")
    api_key: str | None = getattr(settings, f"{service}_api_key")
    try:
        with closing(client(base_url, api_key)) as asked, translated(service, base_url, api_key):
            asked.models.list(timeout=timeout(_WITHIN_S))
    except (Misconfigured, Rejected):
        return True  # A server without such a list has no word against the key.
    except ChronosError:
        return False
    return True
