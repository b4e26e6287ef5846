"""What Postgres can hold: texts and JSON of any origin, and the columns that take them."""

import json

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from videos.durable.paid import ledger
from videos.models import Breaker, Call
from videos.text.storable import error_message, json_problem, storable

ANY_TEXT = st.text(st.characters(exclude_categories=()))
NESTED = st.recursive(
    st.none() | st.booleans() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT)
def test_a_storable_text_is_as_long_and_valid_utf8_without_nul(text):
    stored = storable(text)

    assert len(stored) == len(text)
    assert b"\0" not in stored.encode()
    assert all(new in (old, "\ufffd") for new, old in zip(stored, text, strict=True))


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["a\0b", "lone \ud800 surrogate", "\0" * 5_000])
def test_a_column_for_errors_takes_whatever_is_said(text):
    Breaker.objects.create(service="embedding", last_error=text)
    Breaker.objects.filter(service="embedding").update(last_error=text)

    call = ledger.send_query("embedding", "a model", 1)
    ledger.answer_call(call.pk, used=False, model="a model", error=text)

    assert Breaker.objects.get().last_error == storable(text)[:1_000]
    assert Call.objects.get().error == storable(text)[:1_000]


@pytest.mark.django_db
@given(NESTED)
def test_json_without_a_problem_is_what_postgres_takes(value):
    if json_problem(value) is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::jsonb", [json.dumps(value)])


@pytest.mark.parametrize(
    "value",
    [float("nan"), {"x": [float("-inf")]}, "a\0b", {"\0": 1}, ["\udfff"], object(), {1, 2}],
)
def test_json_that_postgres_refuses_has_a_problem(value):
    assert json_problem(value)


def test_json_of_any_depth_is_judged_and_does_not_end_the_process():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    assert "JSON" in json_problem(deep)


def test_an_error_that_cannot_say_what_it_is_is_named():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    assert error_message(Mute()).startswith("Mute")
    assert error_message(ValueError("a\0b")) == "a\ufffdb"
