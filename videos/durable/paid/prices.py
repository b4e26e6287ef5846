"""What a call costs: by CHRONOS_PRICES, or by what providers say of their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from videos.conf import conf

#: USD for a minute of audio ("minute"), a million tokens ("million_tokens") and a call ("call").
Price = Mapping[str, float]

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
    """Return all prices by model."""
    known: dict[str, Price] = {}
    for source in reversed(_sources):
        known |= source()
    return known | conf().prices
