"""Errors as RFC 9457 has them: `application/problem+json`."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that a client is told of; `errors` are those of fields."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, errors: Any = None, **headers: str
    ) -> None:
        super().__init__(detail)
        self._status = status
        self.detail = detail
        self.errors = errors
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def response(self) -> HttpResponse:
        """The answer to the request."""
        document = {
            "type": "about:blank",
            "title": self._status.phrase,
            "status": self._status.value,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return HttpResponse(
            json.dumps(document, default=str),
            status=self._status,
            content_type=_TYPE,
            headers=self.headers,
        )


def wrong(field: str, message: str, detail: str = "The request cannot be done.") -> Problem:
    """Return the problem of a field whose value cannot be used."""
    said = [{"field": field, "message": message}]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=said)


def not_found(what: str = "video") -> Problem:
    """Return the problem of something that is not there, for the one who asks."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no such {what}.")
