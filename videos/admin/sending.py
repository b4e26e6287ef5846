"""Sending an event by hand: a form made from the event's type, held to what code is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from pydantic import TypeAdapter

from videos.durable.registry import registry
from videos.events import send
from videos.exceptions import EventRefused
from videos.models import Event

_KEY = "event_key"
_FIELDS: dict[str, type[forms.Field]] = {
    "string": forms.CharField,
    "integer": forms.IntegerField,
    "number": forms.FloatField,
    "boolean": forms.NullBooleanField,
}


def sendable() -> list[str]:
    """Return the names of events that may be sent; the others Chronos emits itself."""
    return sorted(name for name, kind in registry.types.items() if not kind.emitted)


class _JSONField(forms.JSONField):
    """JSON, or nothing at all, which is shown as such."""

    def prepare_value(self, value: Any) -> Any:
        """Return the text of the field."""
        return "" if value is None else super().prepare_value(value)


class SendForm(forms.Form):
    """The data of one type of event, a field for each of its own; nothing is sent that is empty."""

    def __init__(self, name: str, posted: Any, initial: Mapping[str, Any]) -> None:
        super().__init__(posted, initial=dict(initial))
        self._name = name
        schema = TypeAdapter(registry.types[name].data).json_schema()
        for field_name, described in schema.get("properties", {}).items():
            is_required = field_name in schema.get("required", ())
            self.fields[field_name] = _field(described, is_required=is_required)
        self.fields[_KEY] = forms.CharField(
            label="Key",
            required=False,
            strip=False,
            help_text="The same key twice is one event: it starts nothing again.",
        )

    def send(self) -> Event | None:
        """Send the event; None where it is refused, which the form then says by its field."""
        data = {
            name: value
            for name, value in self.cleaned_data.items()
            if name != _KEY and value not in ("", None)
        }
        try:
            return send(self._name, data, self.cleaned_data[_KEY] or None)
        except EventRefused as refused:
            field = _KEY if refused.field == "key" else str(refused.field).split(".")[0]
            self.add_error(field if field in self.fields else None, str(refused))
            return None


def _field(described: Mapping[str, Any], *, is_required: bool) -> forms.Field:
    """Return the field of a property of a JSON schema; of what is nested, one for JSON."""
    kinds = {each.get("type") for each in described.get("anyOf", [described])} - {"null"}
    kind = kinds.pop() if len(kinds) == 1 else None
    help_text = described.get("description", "")
    if kind in ("array", "object"):
        return _JSONField(
            required=is_required,
            help_text=help_text or f"JSON, an {kind}.",
            # Where it may be left out, it is: an empty list says something else.
            initial=(list if kind == "array" else dict) if is_required else None,
        )
    if "enum" in described:
        choices = [("", "---------"), *((value, value) for value in described["enum"])]
        return forms.ChoiceField(choices=choices, required=is_required, help_text=help_text)
    options: dict[str, Any] = {"help_text": help_text, "required": is_required}
    if kind == "boolean":
        options["required"] = False
    return _FIELDS.get(kind or "string", forms.CharField)(**options)
