"""Ranking passages: by what words tell, by phrases, and by vectors beside them."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.text import ranking
from videos.text.ranking import Place

TALK, OTHER = UUID(int=1), UUID(int=2)


def place(number: int, revision: UUID = TALK, first: int | None = None, start: float = 0) -> Place:
    first = number if first is None else first
    return Place(number, revision, uuid4(), first, first, start or 10.0 * first, 0.0)


def test_a_rare_word_tells_more():
    assert ranking.idf(1, 1_000) > ranking.idf(100, 1_000) > ranking.idf(1_000, 1_000) > 0


def test_a_word_beside_counts_less_than_one_in_the_passage():
    found = [(place(1), [1.0, 0.0]), (place(2), [0.0, 1.0]), (place(3, OTHER), [1.0, 1.0])]

    shares = ranking.by_words(found, [1.0, 1.0])

    assert shares == {1: 0.75, 2: 0.75, 3: 1.0}


def test_what_another_video_says_or_what_is_not_adjacent_does_not_count():
    found = [
        (place(1), [1.0, 0.0]),
        (place(2, first=5), [0.0, 1.0]),
        (place(3, OTHER, first=2), [0.0, 1.0]),
    ]

    assert set(ranking.by_words(found, [1.0, 1.0]).values()) == {0.5}


def test_a_phrase_is_worth_more_the_longer_it_is():
    query = ["to", "be", "or", "not", "to", "be"]

    worth = [
        ranking.phrase(said.split(), query)
        for said in ("to be or not to be", "to be or else", "be to", "")
    ]

    assert worth == sorted(worth, reverse=True)
    assert worth[0] > worth[1] > worth[2] == worth[3] == 0
    assert ranking.phrase(["word"], ["word"]) == 0


def test_where_all_words_are_said_vectors_change_nothing():
    assert ranking.fused({1: 1.0, 2: 0.5}, [2, 3]) == {1: 1.0, 2: 0.5}


def test_what_has_much_fewer_of_the_words_than_the_best_is_left_out():
    assert ranking.fused({1: 1.0, 2: 0.3}, []) == {1: 1.0}


def test_where_no_word_is_said_vectors_decide():
    scores = ranking.fused({}, [7, 8])

    assert scores[7] > scores[8] > 0


def test_moments_within_half_a_minute_are_one_hit():
    places = {
        1: place(1, start=100),
        2: place(2, start=120),
        3: place(3, start=131),
        4: place(4, OTHER, start=100),
    }

    best = ranking.best({1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}, places, limit=10)

    assert [each.id for each, _ in best] == [1, 3, 4]
    assert len(ranking.best({1: 0.9, 3: 0.7}, places, limit=1)) == 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from([TALK, OTHER]),
            st.lists(st.floats(0, 1), min_size=3, max_size=3),
        ),
        max_size=30,
    ),
    st.lists(st.floats(0.01, 20), min_size=3, max_size=3),
)
def test_shares_lie_between_the_passages_own_and_the_whole(rows, weights):
    found = [
        (place(number, revision, first), fits)
        for number, (first, revision, fits) in enumerate(rows)
    ]

    shares = ranking.by_words(found, weights)

    for each, fits in found:
        own = sum(fit * weight for fit, weight in zip(fits, weights, strict=True)) / sum(weights)
        assert own - 1e-9 <= shares[each.id] <= 1 + 1e-9


@pytest.mark.parametrize("limit", [0, 3])
def test_no_more_is_returned_than_was_asked_for(limit):
    places = {key: place(key, start=100.0 * key) for key in range(1, 9)}

    assert len(ranking.best(dict.fromkeys(places, 1.0), places, limit)) == limit
