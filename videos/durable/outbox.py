"""The outbox: events are stored in the transaction that caused them, and dispatched on commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.dispatch import Signal
from pydantic import TypeAdapter, ValidationError

from videos.durable.models import Event
from videos.durable.registry import registry
from videos.durable.transactions import after_commit
from videos.exceptions import EventRefused
from videos.text.storable import error_message, has_unstorable, json_problem

#: Sent with `event` once the transaction that wrote it is committed.
event_recorded = Signal()

_MAX_KEY = 255


def send(name: str, data: Mapping[str, Any], key: str | None = None) -> Event:
    """Store an event, in the caller's transaction; it is dispatched once that commits.

    A key that was sent before under this name returns the first event, and starts nothing.

    Raises:
        EventRefused: for an unknown or an emitted name, or data that does not fit.
    """
    event_type = registry.types.get(name)
    if event_type is None:
        known = sorted(each for each, its in registry.types.items() if not its.emitted)
        raise EventRefused(f"There is no event {name!r}. Known: {', '.join(known)}.", field="name")
    if event_type.emitted:
        raise EventRefused(f"{name!r} is emitted by Chronos and cannot be sent.", field="name")
    _check_key(name, key)
    parsed = parse(name, data)
    if has_unstorable(data):
        raise EventRefused(
            f"{name}: Postgres keeps no NUL, no lone surrogate, no NaN and no infinity.",
            field="data",
        )
    if event_type.check is not None:
        event_type.check(name, parsed)
    return _record(name, parsed, key)


def emit(name: str, **data: Any) -> Event:
    """Store a fact that Chronos itself states, in the transaction that made it true."""
    return _record(name, parse(name, data), None)


def prepare(name: str, data: Mapping[str, Any], key: str | None = None) -> Event:
    """Return an event, which is not stored, about rows that the caller has at hand.

    Raises:
        EventRefused: for data that does not fit, or a key that cannot be one.
    """
    _check_key(name, key)
    return _event(name, parse(name, data), key)


def record_all(prepared: Sequence[Event]) -> list[Event]:
    """Store prepared events by one statement; return those whose key was not sent before."""
    has_keys = any(event.key is not None for event in prepared)
    with transaction.atomic():
        stored = Event.objects.bulk_create(prepared, ignore_conflicts=has_keys)
        if has_keys:
            stored = list(Event.objects.filter(pk__in=[event.pk for event in prepared]))
        for event in stored:
            after_commit(event_recorded.send, sender=Event, event=event)
    return stored


def _event(name: str, parsed: Any, key: str | None) -> Event:
    subject = registry.types[name].subject
    video_id = subject(parsed) if subject else None
    return Event(name=name, key=key, data=_as_json(name, parsed), video_id=video_id)


def _check_key(name: str, key: Any) -> None:
    is_text = isinstance(key, str) and 0 < len(key) <= _MAX_KEY and not has_unstorable(key)
    if key is not None and not is_text:
        raise EventRefused(
            f"{name}: a key is a text of 1 to {_MAX_KEY} characters, without NUL.", field="key"
        )


def _record(name: str, parsed: Any, key: str | None) -> Event:
    """Store validated data as an event, and have it dispatched on commit."""
    event = _event(name, parsed, key)
    if key is None:
        event.save(force_insert=True)
    else:
        try:
            with transaction.atomic():
                event.save(force_insert=True)
        except IntegrityError:
            # Somebody sent this key before: theirs is the event, and it is dispatched by them.
            return Event.objects.get(name=name, key=key)
    after_commit(event_recorded.send, sender=Event, event=event)
    return event


def _as_json(name: str, parsed: Any) -> Any:
    try:
        data = TypeAdapter(type(parsed)).dump_python(parsed, mode="json", exclude_none=True)
    except ValueError as error:  # pydantic's own is one.
        raise EventRefused(f"{name}: {error_message(error)}.", field="data") from None
    if problem := json_problem(data):
        raise EventRefused(f"{name}: the data cannot be kept, {problem}.", field="data")
    return data


def parse(name: str, data: Mapping[str, Any]) -> Any:
    """Return the data of an event as its class.

    Raises:
        EventRefused: naming the first field that is missing, wrong or not known.
    """
    try:
        return parse_as(registry.types[name].data, data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "data"
        raise EventRefused(f"{name}: {field_name}: {first['msg']}.", field=field_name) from None


def parse_as(data_type: Any, data: Mapping[str, Any]) -> Any:
    """Return data as a dataclass or pydantic model; a field that is not known is an error.

    Raises:
        pydantic.ValidationError: if the data does not fit.
    """
    if dataclasses.is_dataclass(data_type) and isinstance(data, Mapping):
        known = {entry.name for entry in dataclasses.fields(data_type)}
        extra = sorted(str(name) for name in data if name not in known)
        if extra:
            raise ValidationError.from_exception_data(
                str(data_type),
                [{"type": "extra_forbidden", "loc": (extra[0],), "input": None}],
            )
    return TypeAdapter(data_type).validate_python(data)
