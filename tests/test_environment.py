"""What configures a deployment, and is wrong, is named, and its value is not shown."""

import gc
import logging

import pytest

from chronos import settings
from chronos.environment import read_environment


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "nonsense", "begins with postgresql://"),
        ("DATABASE_URL", "mysql://secret/b", "begins with postgresql://"),
        ("DATABASE_URL", "postgresql://", "begins with postgresql://"),
        ("REDIS_URL", "secret", "begins with redis://"),
        ("BROKER_URL", "ftp://secret", "or amqp://"),
        ("OPENAI_BASE_URL", "http://[secret", "is wrong"),
        ("CHRONOS_SITE_URL", "secret", "begins with https://"),
        ("EMAIL_URL", "secret", "begins with smtp://"),
        ("CHRONOS_PRICES", "{secret", "it is no JSON"),
        ("CHRONOS_BULK_CONCURRENCY", "secret", "is wrong"),
    ],
)
def test_a_value_that_cannot_be_right_is_named_and_not_shown(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=f"The environment variable {name} is wrong") as left:
        read_environment()

    assert said in str(left.value)
    assert "secret" not in str(left.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql:///chronos?host=/run/postgresql"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("BROKER_URL", "amqps://user:word@host/vhost"),
        ("EMAIL_URL", "smtps://user:word@host:465"),
        ("EMAIL_URL", "console:"),
        ("CHRONOS_SITE_URL", ""),
    ],
)
def test_addresses_of_all_kinds_are_taken(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    read_environment()


def test_garbage_is_looked_for_once_all_is_loaded():
    assert (gc.isenabled(), gc.get_threshold()) == (True, (20_000, 2, 2))


def test_a_message_that_ends_early_is_no_news():
    is_news = settings.LOGGING["filters"]["news"]["callback"]
    skipped, other = (
        logging.makeLogRecord({"msg": f"Message %s was {end}."}) for end in ("skipped", "lost")
    )

    assert (is_news(skipped), is_news(other)) == (False, True)
