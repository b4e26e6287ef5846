"""What a service itself has counted of our calls, by OpenAI's API of usage."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from videos.ai.openai_client import client, translated
from videos.conf import conf
from videos.exceptions import Misconfigured, Unauthorized
from videos.models import Call

#: The most days of a page (platform.openai.com/docs/api-reference/usage).
_DAYS_A_PAGE = 31
_PAGES = 1_000


@dataclass(frozen=True)
class Counted:
    """Calls of one model, and what they used."""

    calls: int
    audio_seconds: float
    tokens: int


def reported(service: str, since: date, until: date) -> dict[str, Counted]:
    """Return what a service has counted of the days from `since` on, and before `until`, by model.

    It counts every call of the organization, by whichever program.

    Raises:
        Misconfigured: without OPENAI_ADMIN_KEY.
        ChronosError: if the service does not answer, or refuses the key.
    """
    settings = conf()
    if not settings.admin_api_key:
        raise Misconfigured(
            "OPENAI_ADMIN_KEY is not set: what was used is told only to keys of the "
            "organization's administration. Create one there, and set it for this command."
        )
    base_url: str | None = getattr(settings, f"{service}_base_url")
    try:
        with (
            closing(client(base_url, None, admin_api_key=settings.admin_api_key)) as asked,
            translated(service, base_url, settings.admin_api_key),
        ):
            return _read(asked.admin.organization.usage, service, since, until)
    except Unauthorized:
        raise Unauthorized(
            f"The {service} service refused OPENAI_ADMIN_KEY: correct it, or let it read usage."
        ) from None


def _read(usage: Any, service: str, since: date, until: date) -> dict[str, Counted]:
    sums: dict[str, Counter[str]] = {}
    ask: Any = {
        Call.Service.TRANSCRIPTION: usage.audio_transcriptions,
        Call.Service.EMBEDDING: usage.embeddings,
    }[Call.Service(service)]
    page: dict[str, Any] = {}
    for _ in range(_PAGES):
        answer = ask(
            start_time=_seconds(since),
            end_time=_seconds(until),
            bucket_width="1d",
            group_by=["model"],
            limit=_DAYS_A_PAGE,
            **page,
        )
        for row in (row for bucket in answer.data for row in bucket.results):
            of_model = sums.setdefault(row.model or "", Counter())
            of_model["calls"] += row.num_model_requests
            of_model["audio_seconds"] += getattr(row, "seconds", 0)
            of_model["tokens"] += getattr(row, "input_tokens", 0)
        if not answer.has_more:
            break
        page = {"page": answer.next_page}
    return {
        model: Counted(row["calls"], float(row["audio_seconds"]), row["tokens"])
        for model, row in sums.items()
    }


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
