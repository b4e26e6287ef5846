"""What the documents list is what the code has."""

import re

from chronos.environment import Environment
from tests.conftest import PROJECT
from videos.exceptions import ChronosError, EventRefused


def written(name):
    return (PROJECT / name).read_text()


def kinds(error):
    return {error}.union(*map(kinds, error.__subclasses__()))


def test_every_error_code_has_its_line_in_the_operators_table():
    codes = {kind.code for kind in kinds(ChronosError) - kinds(EventRefused)}

    assert codes <= set(re.findall(r"`(\w+)`", written("docs/operating.md")))


def test_every_variable_is_in_the_example():
    listed = set(re.findall(r"^([A-Z_0-9]+)=", written(".env.example"), re.MULTILINE))

    assert {name.upper() for name in Environment.model_fields} <= listed


def test_a_price_can_be_given_as_json(monkeypatch):
    monkeypatch.setenv("CHRONOS_PRICES", '{"my-whisper": {"minute": 0.001}}')

    assert Environment().chronos_prices == {"my-whisper": {"minute": 0.001}}
