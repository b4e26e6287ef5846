"""What the two AI services have in common: the client, and what their errors mean.

Any server that speaks OpenAI's HTTP API will do. The SDK's own retries are off: retries are
counted per step, in Postgres.
"""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import UUID

from django.utils.functional import SimpleLazyObject

from videos.conf import conf
from videos.exceptions import (
    AbsurdResponse,
    BadResponse,
    ChronosError,
    Misconfigured,
    Overdue,
    RateLimited,
    Rejected,
    ServiceUnavailable,
    Unauthorized,
)
from videos.text.storable import error_message

if TYPE_CHECKING:
    import httpx
    import openai
else:  # Half a second, which only who calls a service has to wait.
    httpx = SimpleLazyObject(partial(import_module, "httpx"))
    openai = SimpleLazyObject(partial(import_module, "openai"))

#: Nothing was sent: nobody listens there, or the name is unknown.
_NOT_REACHED = (ConnectionRefusedError, socket.gaierror)
#: Of the variables that name a service, where that is not its own name.
_PREFIXES = {"chat": "CHRONOS_CHAT", "rerank": "CHRONOS_RERANK"}
_OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_TIMEOUT_S = 10.0
_DEFAULT_RETRY_AFTER_S = 5.0
_MAX_RETRY_AFTER_S = 3600.0
_SHOWN_CHARACTERS = 500
#: What the embedded AI server calls an error whose message says all that there is to do.
_MISCONFIGURED = "misconfigured"
_MAX_AMOUNT = 1e9
#: 2,048 vectors of 4,000 dimensions as base64 are 44 MB, of 1,536 written out 64 MB; a second of
#: speech is a few hundred bytes.
_MAX_BODY_BYTES = 128 * 1024**2


def client(
    base_url: str | None, api_key: str | None, admin_api_key: str | None = None
) -> openai.OpenAI:
    """Return a client of one service; close it to end the calls that are under way."""
    return openai.OpenAI(
        # Named, because the SDK would look into the environment by itself.
        base_url=base_url or _OPENAI_URL,
        # Servers of one's own often want no key, the SDK always wants a string.
        api_key=api_key or "none",
        admin_api_key=admin_api_key or "none",
        max_retries=0,
        timeout=timeout(conf().service_timeout_s),
        http_client=openai.DefaultHttpxClient(verify=_tls()),
    )


@cache
def _tls() -> ssl.SSLContext:
    """Return what all connections of this process trust; to read it takes 40 ms of CPU time."""
    return httpx.create_ssl_context()


def timeout(within_s: float) -> openai.Timeout:
    """Return how long each read of an answer may take where the whole has `within_s` seconds."""
    return openai.Timeout(
        min(within_s, conf().service_timeout_s), connect=min(within_s, _CONNECT_TIMEOUT_S)
    )


def request_id(call_id: UUID) -> dict[str, str]:
    """Return the header that names a call in the service's log as the ledger names it.

    X-Client-Request-Id: platform.openai.com/docs/api-reference, "Debugging requests".
    """
    return {"X-Client-Request-Id": str(call_id)}


@contextmanager
def translated(service: str, base_url: str | None, api_key: str | None) -> Iterator[None]:
    """Turn the SDK's errors into ours, with a message for the operator and without the key."""
    try:
        yield
    except ChronosError:
        raise
    except openai.OpenAIError as error:
        raise _translate(error, service, base_url, api_key) from None


def read_json(response: Any, service: str, deadline: float) -> Any:
    """Return the JSON of an answer whose body is still to be read, of at most 128 MiB.

    `deadline` is a time of `time.monotonic`: a timeout of a socket bounds each read alone, and a
    service that drips would keep a caller for ever.

    Raises:
        ServiceUnavailable: if the body breaks off, or is not there by the deadline.
        BadResponse: if it is not valid JSON; AbsurdResponse: if it is beyond all bounds.
    """
    body = bytearray()
    try:
        for block in response.iter_bytes():
            body += block
            if len(body) > _MAX_BODY_BYTES:
                raise AbsurdResponse(
                    f"The {service} service's answer has more than "
                    f"{_MAX_BODY_BYTES // 1024**2} MiB."
                )
            if time.monotonic() > deadline:
                raise Overdue(service)
    except ChronosError:
        raise
    except Exception as error:  # Whatever the SDK's HTTP library raises while it reads.
        raise ServiceUnavailable(
            f"The {service} service closed the connection in mid-answer: {error_message(error)}."
        ) from None
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadResponse(f"The {service} service's answer is not valid JSON: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise AbsurdResponse(
            f"The {service} service's answer cannot be read: {error_message(error)}."
        ) from None


def _translate(
    error: openai.OpenAIError, service: str, base_url: str | None, api_key: str | None
) -> ChronosError:
    where = base_url or "api.openai.com"
    if isinstance(error, openai.APITimeoutError):
        return ServiceUnavailable(
            f"The {service} service at {where} did not answer in time. Reprocess the video once it "
            "is available again."
        )
    if isinstance(error, openai.APIStatusError):
        return _translate_status(error, service, where, api_key)
    if isinstance(error, openai.APIConnectionError):
        reason = error.__cause__ or error
        unavailable = ServiceUnavailable(
            f"The {service} service at {where} cannot be reached, or hung up: {reason}."
        )
        unavailable.never_sent = any(isinstance(each, _NOT_REACHED) for each in _causes(error))
        return unavailable
    return BadResponse(f"The {service} service at {where} gave a malformed response: {error}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _translate_status(
    error: openai.APIStatusError, service: str, where: str, api_key: str | None
) -> ChronosError:
    status = error.status_code
    said = _message(error, api_key)
    prefix = _PREFIXES.get(service, service.upper())
    if getattr(error, "code", None) == _MISCONFIGURED:
        return Misconfigured(said, http_status=status)
    if status in (401, 403):
        return Unauthorized(
            f"The {service} service at {where} refused the API key (HTTP {status}: {said}). "
            f"Correct {prefix}_API_KEY or OPENAI_API_KEY: what it stopped goes on by itself once "
            "it works.",
            http_status=status,
        )
    if status == 404 or getattr(error, "code", None) == "model_not_found":
        return Misconfigured(
            f"The {service} service at {where} does not know the model or the address "
            f"(HTTP {status}: {said}). Correct {prefix}_MODEL or {prefix}_BASE_URL, then "
            "reprocess the video.",
            http_status=status,
        )
    if getattr(error, "code", None) == "insufficient_quota":
        return Unauthorized(
            f"The account at {where} has no quota left for {service} (HTTP {status}: {said}). Top "
            "it up, then reprocess the video.",
            http_status=status,
        )
    if status == 429:
        return RateLimited(
            f"The {service} service at {where} asked us to wait: {said}.",
            retry_after_s=_retry_after_s(error),
        )
    if status == 408 or status == 409 or status >= 500:
        return ServiceUnavailable(
            f"The {service} service at {where} failed (HTTP {status}: {said}). Reprocess the video "
            "once it is available again.",
            http_status=status,
        )
    return Rejected(
        f"The {service} service at {where} refused the input (HTTP {status}: {said}). If the file "
        "plays well, report this to the service; to try again, reprocess the video.",
        http_status=status,
    )


def _message(error: openai.APIStatusError, api_key: str | None) -> str:
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    text = " ".join(str(said or error.message).split())
    if api_key:
        text = text.replace(api_key, "***")
    return text[:_SHOWN_CHARACTERS]


def _retry_after_s(error: openai.APIStatusError) -> float:
    """Read Retry-After in its three forms: milliseconds, seconds, a date."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        else:
            seconds = _seconds(headers.get("retry-after", ""))
    except (ValueError, TypeError):
        seconds = _DEFAULT_RETRY_AFTER_S
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)


def _seconds(value: str) -> float:
    if value.replace(".", "", 1).isdigit():
        return float(value)
    return (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()


def amount(*values: Any) -> float:
    """Return the first value that may measure what one call used, else 0."""
    return next((float(value) for value in values if is_number(value) and value >= 0), 0.0)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that the ledger can hold; JSON knows any number of digits."""
    return isinstance(value, (int, float)) and abs(value) <= _MAX_AMOUNT
