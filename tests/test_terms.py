"""Words in the one form in which they are indexed and asked for, and what misspelled ones mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.text import spelling, terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Photosynthesis is SLOW.", ["photosynthesis", "is", "slow"]),
        ("photo\u00adsynthesis\u200f", ["photosynthesis"]),
        ("e\ufb03cient", ["efficient"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("self-attention, 3.14 don't", ["self", "attention", "3", "14", "don", "t"]),
        ("\u6c34\u9053\u6a4b", ["\u6c34\u9053", "\u9053\u6a4b", "\u6a4b"]),
        ("GPT\u30e2\u30c7\u30eb", ["gpt", "\u30e2\u30c7", "\u30c7\u30eb", "\u30eb"]),
        ("\u6c34", ["\u6c34"]),
        ("\u0e19\u0e49\u0e2d", ["\u0e19\u0e49", "\u0e49\u0e2d", "\u0e2d"]),
        ("& | ! \U0001f3ac", []),
    ],
)
def test_words_have_one_form(text, words):
    assert terms.words(text) == words


def test_of_a_run_without_spaces_a_query_has_pairs_alone():
    assert terms.query_words("\u6c34\u9053\u6a4b") == ["\u6c34\u9053", "\u9053\u6a4b"]
    assert terms.query_words("\u6c34") == ["\u6c34"]


@pytest.mark.parametrize(
    ("word", "bare"),
    [("r\u00e9sum\u00e9", "resume"), ("sch\u00f6n", "schon"), ("stra\u00dfe", "strasse")],
)
def test_bare_words_have_no_accents(word, bare):
    assert terms.bare(word) == bare


@given(st.text())
def test_words_of_any_text_can_be_stored_as_lexemes(text):
    for word in terms.words(text):
        assert word
        assert " " not in word
        assert len(word.encode()) <= 1_000


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [("lighthuose", "lighthouse", 1), ("squre", "square", 1), ("", "abc", 3), ("same", "same", 0)],
)
def test_distance_counts_slips(one, other, slips):
    assert spelling.distance(one, other) == slips


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8))
def test_distance_is_that_of_both_directions(one, other):
    there = spelling.distance(one, other)

    assert there == spelling.distance(other, one)
    assert abs(len(one) - len(other)) <= there <= max(len(one), len(other))


def test_the_nearest_word_that_is_said_is_meant():
    known = {"lighthouse": 3, "lightness": 40, "house": 100}

    assert spelling.suggestions("lighthuose", known) == ["lighthouse"]
    assert spelling.suggestions("xylophone", known) == []


def test_of_equally_near_words_the_one_that_is_said_more_often_is_meant():
    assert spelling.suggestions("cosien", {"cosine": 90, "cosmen": 1})[0] == "cosine"
