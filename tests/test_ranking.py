"""Reciprocal rank fusion."""

import pytest

from videos.text.ranking import fuse


def test_what_both_rankings_like_comes_first():
    assert [item for item, _ in fuse([["a", "b", "c"], ["b", "d"]])] == ["b", "a", "d", "c"]


def test_scores_are_sums_of_reciprocal_ranks():
    assert dict(fuse([["a", "b"], ["b"]]))["b"] == pytest.approx(1 / 62 + 1 / 61)
