"""How good a search is: the numbers, by hand; and the command that makes them."""

import json

import pytest
from django.db import transaction

from tests.conftest import PROJECT
from tests.rows import spoken_video
from tests.test_commands import manage
from videos.models import Segment, Video
from videos.pipeline import chunks, lexemes
from videos.text import caption_reader, chunking, evaluation
from videos.text.evaluation import Found, judge

EVALUATION = PROJECT / "tests" / "evaluation"


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
    questions.write_text(json.dumps([said | {"iv": [[500, 510]]}]))
    (failure,) = manage("evaluate_search", questions, "--mode", "text", "--failures", "--json")[
        "failures"
    ]
    assert (failure["id"], failure["rank"]) == ("1", None)


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


@pytest.fixture(scope="session")
def questions():
    return json.loads((EVALUATION / "questions.json").read_text())


@pytest.mark.django_db(transaction=True)
def test_the_moment_is_found_in_talks_of_our_own(creator, questions):
    """The numbers are those that were measured, less what a change of a few questions may cost."""
    for path in sorted((EVALUATION / "talks").glob("*.vtt")):
        cues, repairs = caption_reader.read(path.read_text())
        assert not repairs
        told_video(creator, path.stem, cues)
    lexemes.add_up()

    document = manage("evaluate_search", EVALUATION / "questions.json", "--json", "--mode", "text")

    by_class = document["modes"]["text"]
    assert {question["cls"] for question in questions} < by_class.keys()
    assert by_class["exact"]["first"] == 1
    assert by_class["keywords"]["first"] >= 0.9
    assert by_class["misspelled"]["five"] >= 0.8
    assert by_class["language"]["five"] >= 0.7
    assert by_class["all"]["first"] >= 0.65
    assert by_class["none"]["silent"] >= 0.5


def told_video(creator, title, cues):
    language = {"kompost": "de", "cultivo-cafe": "es", "jishin": "ja"}.get(title, "en")
    texts = [cue.text for cue in cues]
    video = spoken_video(creator, texts, language=language)
    revision = video.revision
    segments = list(revision.transcript.segments.all())
    for segment, cue in zip(segments, cues, strict=True):
        segment.start, segment.end = cue.start, cue.end
    Segment.objects.bulk_update(segments, ["start", "end"])
    with transaction.atomic():
        chunks.store(revision, chunking.chunk(segments), segments)
    Video.objects.filter(pk=video.pk).update(title=title)
