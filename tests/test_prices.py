"""What a call costs, by whose word."""

from decimal import Decimal

import pytest

from videos.durable.paid import prices


def test_what_openai_sells_has_its_published_price():
    assert prices.cost_usd("whisper-1", audio_seconds=90) == Decimal("0.009")
    assert prices.cost_usd("text-embedding-3-small", tokens=1_000_000) == Decimal("0.02")


def test_a_model_without_a_price_costs_nothing():
    assert prices.cost_usd("mine", audio_seconds=3_600, tokens=10**9) == 0


def test_the_operators_prices_count_before_published_ones(settings):
    settings.CHRONOS_PRICES = {"whisper-1": {"minute": 1.0}, "mine": {"million_tokens": 3.0}}

    assert prices.cost_usd("whisper-1", audio_seconds=60) == 1
    assert prices.cost_usd("mine", tokens=500_000) == Decimal("1.5")
    assert prices.known_prices()["gpt-transcribe"] == {"minute": 0.0045}


def test_of_two_providers_the_transcribers_price_counts(settings):
    settings.CHRONOS_TRANSCRIBER = "tests.extension.dictation.Dictation"

    assert float(prices.cost_usd("dictate-1", audio_seconds=60)) == pytest.approx(0.6)
