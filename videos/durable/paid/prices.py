"""What a call costs: by CHRONOS_PRICES, or by what providers say of their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from videos.conf import conf

#: USD for a minute of audio ("minute"), a million tokens ("million_tokens") and a call ("call").
Price = Mapping[str, float]
#: A price, or the prices of a model one after another, each "from" a day (ISO 8601, UTC).
Given = Mapping[str, Any] | Sequence[Mapping[str, Any]]
UNITS = ("minute", "million_tokens", "call")

_sources: list[Callable[[], Mapping[str, Price]]] = []


def add_source(source: Callable[[], Mapping[str, Price]]) -> None:
    """Have `source` asked for prices by model, after CHRONOS_PRICES and the sources before it."""
    _sources.append(source)


def cost_usd(model: str, *, audio_seconds: float = 0.0, tokens: int = 0) -> Decimal:
    """Return what a call costs in USD; 0 for a model without a price (see CHRONOS_PRICES)."""
    price = known_prices().get(model, {})
    cost = audio_seconds / 60 * price.get("minute", 0.0)
    cost += tokens / 1_000_000 * price.get("million_tokens", 0.0)
    cost += price.get("call", 0.0)
    return Decimal(str(round(cost, 8)))


def known_prices() -> dict[str, Price]:
    """Return all prices by model that are in force today (UTC)."""
    known: dict[str, Price] = {}
    for source in reversed(_sources):
        known |= source()
    today = datetime.now(UTC).date()
    given = {model: in_force(entry, today) for model, entry in conf().prices.items()}
    return known | {model: price for model, price in given.items() if price}


def in_force(given: Given, day: date) -> Price:
    """Return which of a model's prices holds on a day; before the first, nothing is known: {}."""
    dated = [given] if isinstance(given, Mapping) else given
    begun = [each for each in dated if begins(each) <= day]
    price = max(begun, key=begins, default={})
    return {unit: price[unit] for unit in UNITS if unit in price}


def begins(price: Mapping[str, Any]) -> date:
    """Return from which day a price holds; without one, from the beginning.

    Raises:
        ValueError: if its "from" is no day.
    """
    return date.fromisoformat(price["from"]) if "from" in price else date.min
