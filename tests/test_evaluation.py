"""How good a search is: the numbers, by hand; and the command that makes them."""

import json

import pytest

from tests.rows import spoken_video
from tests.test_commands import manage
from videos.text import evaluation
from videos.text.evaluation import Found, judge


def test_a_hit_is_right_within_fifteen_seconds_in_the_right_video():
    answer = [(100.0, 110.0)]

    assert judge([Found(True, 85.0)], answer).rank == 0
    assert judge([Found(True, 125.0)], answer).rank == 0
    assert judge([Found(True, 84.9)], answer).rank is None
    assert judge([Found(False, 100.0), Found(True, 100.0)], answer).rank == 1


def test_gain_is_that_of_every_answer_once():
    both = [(100.0, 110.0), (500.0, 510.0)]

    assert judge([Found(True, 100.0), Found(True, 500.0)], both).ndcg == pytest.approx(1)
    assert judge([Found(True, 100.0), Found(True, 101.0)], both).ndcg == pytest.approx(
        0.6131, abs=1e-4
    )


def test_a_jump_is_off_by_what_the_first_hit_in_the_video_is():
    assert judge([Found(False, 0.0), Found(True, 130.0)], [(100.0, 110.0)]).jump_s == 30
    assert judge([Found(False, 0.0)], [(100.0, 110.0)]).jump_s is None


def test_shares_have_their_intervals():
    right, wrong = judge([Found(True, 0.0)], [(0.0, 1.0)]), judge([], [(0.0, 1.0)])

    numbers = evaluation.summary([right] * 30 + [wrong] * 10)

    assert (numbers["first"], numbers["five"], numbers["mrr"]) == (0.75, 0.75, 0.75)
    low, high = numbers["first_interval"]
    assert 0.55 < low < 0.75 < high < 0.95
    assert numbers["silent"] == 0.25


@pytest.mark.django_db(transaction=True)
def test_the_command_counts_by_mode_and_class(creator, tmp_path):
    spoken_video(creator, ["Nothing here.", "Romans carried water over stone arches."])
    questions = tmp_path / "questions.json"
    said = {"id": "1", "cls": "keywords", "video": "A talk", "q": "stone arches", "iv": [[5, 10]]}
    unsaid = {"id": "2", "cls": "none", "q": "zebra submarine", "iv": []}
    questions.write_text(json.dumps([said, unsaid]))

    document = manage("evaluate_search", questions, "--mode", "text", "--failures", "--json")

    assert document["modes"]["text"]["all"]["first"] == 1
    assert document["modes"]["text"]["none"]["silent"] == 1
    assert document["failures"] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[", 2),
        ('[{"id": "1"}]', 2),
        ('[{"id":"1","cls":"a","video":"Gone","q":"x","iv":[[0,1]]}]', 1),
    ],
)
def test_what_is_wrong_with_questions_is_told(creator, tmp_path, content, code):
    questions = tmp_path / "questions.json"
    questions.write_text(content)

    assert "Traceback" not in manage("evaluate_search", questions, code=code)
