"""What the transcription service's answers mean."""

import pytest

from videos.exceptions import BadResponse
from videos.transcription import read_answer


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"text": 5},
        {"text": "a", "segments": "b"},
        {"text": "a", "segments": [{"start": 0, "text": "a"}]},
        {"text": "a", "segments": [{"start": "NaN", "end": 1, "text": "a"}]},
        {"text": "a", "segments": [{"start": 0, "end": 1, "text": None}]},
    ],
)
def test_an_answer_that_breaks_the_api_is_told_apart(answer):
    with pytest.raises(BadResponse):
        read_answer(answer, 10)


def test_text_alone_spans_the_part():
    heard = read_answer({"text": "all of it"}, 12.5)

    assert [(s.start, s.end, s.text) for s in heard.segments] == [(0.0, 12.5, "all of it")]


def test_a_language_name_becomes_its_code():
    assert read_answer({"text": "", "language": "english"}, 1).language == "en"
    assert read_answer({"text": "", "language": "de"}, 1).language == "de"


def test_characters_that_postgres_refuses_are_dropped():
    assert read_answer({"text": "a\x00b\ud800c"}, 1).segments[0].text == "abc"


def test_whispers_own_doubts_mark_a_segment():
    doubted = {"start": 0, "end": 1, "text": "la la la", "compression_ratio": 3.1}

    assert read_answer({"text": "", "segments": [doubted]}, 1).segments[0].suspicious
