"""What Postgres can hold of texts and JSON. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

#: Postgres has no NUL in texts (PostgreSQL docs, 8.3), and UTF-8 has no lone surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: What a row is written with in moments; files belong into the storage.
_MAX_JSON_CHARACTERS = 16 * 1024**2
_REPLACEMENT = "\ufffd"
#: What captions and transcripts must not hold either; tabs and line ends may stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with a replacement character for each that Postgres refuses."""
    return _UNSTORABLE.sub(_REPLACEMENT, text)


def without_control(text: str) -> str:
    """Return the text without control characters and lone surrogates."""
    return _CONTROL.sub("", text)


def error_message(error: BaseException) -> str:
    """Return what an error says, storable; an error that cannot say it is named by its class."""
    try:
        return storable(str(error))
    except Exception as failure:  # Whatever `__str__` of somebody else's class raises.
        return f"{type(error).__name__} (its text cannot be read: {type(failure).__name__})"


def json_problem(value: Any) -> str | None:
    """Return why Postgres cannot hold a value as JSON, or None if it can.

    JSON has no NaN and no infinities (RFC 8259, 6), and `jsonb` no NUL in texts.
    """
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return f"it is not valid JSON: {error_message(error)}"
    if size > _MAX_JSON_CHARACTERS:
        return f"it has {size} characters as JSON, {_MAX_JSON_CHARACTERS} at most"
    return "a text in it has a NUL or a lone surrogate" if has_unstorable(value) else None


def has_unstorable(value: Any) -> bool:
    """Whether somewhere in nested data is a text or number that Postgres has no JSON for."""
    # By a list of its own: data may be nested deeper than Python calls.
    left = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, str):
            if _UNSTORABLE.search(entry):
                return True
        elif isinstance(entry, float):
            if not math.isfinite(entry):
                return True
        elif isinstance(entry, Mapping):
            left += [*entry.keys(), *entry.values()]
        elif isinstance(entry, (list, tuple)):
            left += entry
    return False
