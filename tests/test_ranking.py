"""Fusing rankings, and choosing the second within a chunk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.text.ranking import best_segment, fuse


def test_what_both_rankings_like_comes_first():
    assert [item for item, _ in fuse([["a", "b", "c"], ["b", "d"]])] == ["b", "a", "d", "c"]


def test_scores_are_sums_of_reciprocal_ranks():
    assert dict(fuse([["a", "b"], ["b"]]))["b"] == pytest.approx(1 / 62 + 1 / 61)


def test_a_word_of_the_query_says_more_of_the_second_than_a_passage():
    assert best_segment([0.0, 0.0, 0.6, 0.0], [(0, 0.9), (2, 0.1)], 0) == 2


def test_without_words_the_passage_that_is_nearest_gives_the_second():
    assert best_segment([0.0] * 4, [(10, 0.2), (12, 0.7), (13, 0.5)], 10) == 2


def test_where_nothing_tells_segments_apart_it_is_the_first():
    assert best_segment([0.3, 0.3], [], 0) == 0
    assert best_segment([0.0] * 3, [(5, 0.5)], 5) == 0


def test_a_word_in_a_near_passage_beats_the_same_word_elsewhere():
    assert best_segment([0.5, 0.0, 0.5], [(0, 0.1), (2, 0.9)], 0) == 2


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.lists(st.floats(0, 1), max_size=5),
    st.integers(0, 1_000),
)
def test_whatever_ranks_say_the_second_is_one_of_the_chunks_own(ranks, similarities, first):
    passages = [(first + position, each) for position, each in enumerate(similarities)]
    passages = [passage for passage in passages if passage[0] - first < len(ranks)]

    best = best_segment(ranks, passages, first)

    assert 0 <= best < len(ranks)
    if not passages and max(ranks) > min(ranks):
        assert ranks[best] == max(ranks)
