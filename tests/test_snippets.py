"""What is marked of a line that was found, and where a player begins."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videos.text import snippets, terms
from videos.text.captions import Caption
from videos.text.matching import Sought


def marked(text, *words):
    """The stretches of a text that are marked."""
    pieces = list(Sought(words).marked(text))
    assert "".join(piece for piece, _ in pieces) == text, "nothing is lost"
    return [piece for piece, is_match in pieces if is_match]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (
            "Interests, interesting: the INTEREST of Int.",
            ["interest"],
            ["Interests", "interesting", "INTEREST"],
        ),
        ("The café of Zoë", ["cafe", "zoe"], ["café", "Zoë"]),
        ("我们学习量子力学的基础", ["量子", "子力", "力学"], ["量子力学"]),
        ("学习量子和量子", ["量子"], ["量子", "量子"]),
        ("a photosynthesis b", ["fotosynthesis", "photosynthesis"], ["photosynthesis"]),
        ("nothing of it", [], []),
        ("", ["x"], []),
    ],
)
def test_words_are_marked_however_they_were_found(text, words, expected):
    assert marked(text, *words) == expected


@given(st.text(max_size=40), st.text(max_size=20))
@example("学a学", "学a")
@example("x_y", "x")
def test_whatever_is_marked_nothing_is_lost(text, query):
    marked(text, *terms.query_words(query))


def lines(*texts, seconds=5.0):
    """Lines of five seconds each, with the times of words where a text has a bar."""
    found = []
    for number, text in enumerate(texts):
        start, words = number * seconds, text.split()
        step = seconds / max(len(words), 1)
        timed = [
            [start + at * step, start + (at + 1) * step, each] for at, each in enumerate(words)
        ]
        found.append(Caption(start, start + seconds, text, words=timed))
    return found


def untimed(*texts):
    return [Caption(each.start, each.end, each.text) for each in lines(*texts)]


def test_the_second_is_the_first_words_where_words_have_times():
    (line,) = lines("And so we come to photosynthesis now, my dear friends.")

    assert snippets.second(line, Sought(["photosynthesis", "to"])) == 2.5
    assert snippets.second(line, Sought(["zebra"])) == 0.0
    assert snippets.second(untimed(line.text)[0], Sought(["photosynthesis"])) == 0.0


@pytest.mark.parametrize(
    ("said", "position", "at", "begins"),
    [
        pytest.param(lines("One two. Three four five six."), 0, 2.5, 5 / 3, id="in the line"),
        pytest.param(untimed("It ends.", "Here it", "goes on."), 2, 10.0, 5.0, id="line before"),
        pytest.param(untimed("It ends.", "a", "b", "c"), 3, 15.0, 14.0, id="long sentence"),
        pytest.param(untimed("no end", "at all"), 1, 5.0, 4.0, id="no sentences"),
        pytest.param(untimed("The very first."), 0, 0.0, 0.0, id="at the start"),
    ],
)
def test_a_player_begins_with_the_sentence_or_a_second_before(said, position, at, begins):
    assert snippets.begin(said, position, at) == pytest.approx(begins)
