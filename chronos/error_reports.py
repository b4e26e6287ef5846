"""Reports of errors to Sentry, without what must not leave this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sentry_sdk
from sentry_sdk.scrubber import EventScrubber

_SHOWN = "[secret]"
#: Shorter ones would be found in every text.
_MIN_CHARACTERS = 6


def report_errors(dsn: str, secrets: Sequence[str], **options: Any) -> None:
    """Send errors to a Sentry, without local variables, bodies, people, and these secrets.

    Local variables hold whole settings and clients; what is said of a key in a message is
    replaced by its value, wherever in a report it stands.
    """
    hidden = [secret for secret in secrets if len(secret) >= _MIN_CHARACTERS]
    sentry_sdk.init(
        dsn=dsn,
        include_local_variables=False,
        max_request_body_size="never",
        event_scrubber=EventScrubber(recursive=True),
        before_send=lambda event, _: scrubbed(event, hidden),
        before_breadcrumb=lambda crumb, _: scrubbed(crumb, hidden),
        **options,
    )


def scrubbed(value: Any, secrets: Sequence[str]) -> Any:
    """Return nested data with every secret replaced in every text of it."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _SHOWN)
        return value
    if isinstance(value, dict):
        return {scrubbed(key, secrets): scrubbed(entry, secrets) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrubbed(entry, secrets) for entry in value]
    return value
