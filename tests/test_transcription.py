"""What the transcription service's answers mean."""

import pytest

from videos.ai.transcription import read_answer
from videos.exceptions import BadResponse


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"text": 5},
        {"text": "a", "segments": "b"},
        {"text": "a", "segments": [{"end": 0, "text": "a"}]},
        {"text": "a", "segments": [{"start": "NaN", "end": 1, "text": "a"}]},
        {"text": "a", "segments": [{"start": 0, "end": 1, "text": None}]},
        {"text": "a", "segments": [{"start": 10**400, "end": 10**400, "text": "a"}]},
    ],
)
def test_an_answer_that_breaks_the_api_is_told_apart(answer):
    with pytest.raises(BadResponse):
        read_answer(answer, 10)


def test_an_end_that_is_null_is_where_the_next_segment_begins():
    listed = [
        {"start": 0, "end": None, "text": "one"},
        {"start": 4, "text": "two"},
        {"start": 6, "end": None, "text": "three"},
    ]

    segments = read_answer({"text": "one two three", "segments": listed}, 10).segments

    assert [(segment.start, segment.end) for segment in segments] == [(0, 4), (4, 6), (6, 10)]


def test_text_alone_spans_the_part():
    recognized = read_answer({"text": "all of it"}, 12.5)

    assert [(s.start, s.end, s.text) for s in recognized.segments] == [(0.0, 12.5, "all of it")]


def test_a_language_name_becomes_its_code():
    assert read_answer({"text": "", "language": "english"}, 1).language == "en"
    assert read_answer({"text": "", "language": "chinese"}, 1).language == "zh"
    assert read_answer({"text": "", "language": "de"}, 1).language == "de"
    assert read_answer({"text": "", "languages": [{"code": "fr"}]}, 1).language == "fr"


def test_characters_that_postgres_refuses_are_dropped():
    assert read_answer({"text": "a\x00b\ud800c"}, 1).segments[0].text == "abc"


def test_whispers_own_doubts_mark_a_segment():
    doubted = {"start": 0, "end": 1, "text": "la la la", "compression_ratio": 3.1}

    assert read_answer({"text": "", "segments": [doubted]}, 1).segments[0].doubt == "unsure"


def test_words_belong_to_the_segment_in_which_they_begin():
    segments = [
        {"start": 0.0, "end": 1.0, "text": "one two"},
        {"start": 1.2, "end": 2.0, "text": "three"},
    ]
    words = [
        {"start": 0.0, "end": 0.5, "word": "one"},
        {"start": 0.6, "end": 1.1, "word": "two"},
        {"start": 1.18, "end": 2.0, "word": " three"},  # rounded otherwise than its segment
        {"start": None, "end": 2.0, "word": "lost"},
    ]

    first, second = read_answer({"text": "", "segments": segments, "words": words}, 2).segments

    assert first.words == [(0.0, 0.5, "one"), (0.6, 1.1, "two")]
    assert second.words == [(1.18, 2.0, "three")]


@pytest.mark.parametrize(
    ("odd", "audio_seconds", "tokens"),
    [
        ({"usage": {"total_tokens": -5, "seconds": -1}}, 10, 0),
        ({"usage": {"total_tokens": 1e30, "seconds": 1e300}}, 10, 0),
        ({"usage": {"total_tokens": 10**400, "seconds": 10**400}}, 10, 0),
        ({"usage": {"total_tokens": 7, "seconds": 9.5}, "language": "\x00"}, 9.5, 7),
    ],
)
def test_measures_that_no_ledger_can_hold_are_not_believed(odd, audio_seconds, tokens):
    recognized = read_answer({"text": "all of it", **odd}, 10)

    assert (recognized.audio_seconds, recognized.tokens, recognized.language) == (
        audio_seconds,
        tokens,
        "",
    )


def test_segments_out_of_order_get_their_own_words():
    segments = [
        {"start": 5.0, "end": 9.0, "text": "late", "no_speech_prob": 10**400},
        {"start": 0.0, "end": 4.0, "text": "early"},
    ]
    words = [
        {"start": 0.1, "end": 0.5, "word": "early"},
        {"start": 5.1, "end": 5.5, "word": "late"},
    ]

    early, late = read_answer({"text": "", "segments": segments, "words": words}, 9).segments

    assert (early.words, late.words) == ([(0.1, 0.5, "early")], [(5.1, 5.5, "late")])


def test_whispers_ratio_of_bytes_is_no_doubt_about_a_script_of_many():
    said = {"start": 0, "end": 9, "text": "தண்ணீரைச் சேமித்தார்கள்", "compression_ratio": 2.7}

    assert read_answer({"text": "", "segments": [said]}, 9).segments[0].doubt == ""
