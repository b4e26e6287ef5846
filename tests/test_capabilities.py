"""What each model is asked for."""

import json

import pytest

from videos.ai.capabilities import CANDIDATES, WHISPER, Capability, known
from videos.ai.transcription import Request, parameters

TOLD = {"language": "de", "prompt": "Ein Kurs.", "glossary": ["pgvector", "Dramatiq"]}


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (
            "whisper-1",
            {
                "response_format": "verbose_json",
                "timestamp_granularities": ["segment", "word"],
                "language": "de",
                "prompt": "Ein Kurs. pgvector, Dramatiq",
            },
        ),
        (
            "gpt-4o-mini-transcribe",
            {
                "response_format": "json",
                "language": "de",
                "prompt": "Ein Kurs. pgvector, Dramatiq",
            },
        ),
        (
            "gpt-4o-transcribe-diarize",
            {
                "response_format": "diarized_json",
                "language": "de",
                "chunking_strategy": "auto",
            },
        ),
        (
            "gpt-transcribe",
            {
                "response_format": "json",
                "language": "de",
                "prompt": "Ein Kurs.",
                "keywords": ["pgvector", "Dramatiq"],
            },
        ),
    ],
)
def test_each_model_is_asked_for_what_it_knows(model, asked):
    assert parameters(Request(known(model), **TOLD)) == asked


def test_a_second_pass_is_told_nothing_and_asked_otherwise():
    again = parameters(Request(WHISPER, **TOLD, is_second_pass=True))

    assert again["temperature"] > 0
    assert again["language"] == "de"
    assert "prompt" not in again


def test_a_glossary_is_cut_at_what_a_model_looks_at():
    terms = [f"term{number}" for number in range(1_000)]

    written = parameters(Request(WHISPER, glossary=terms))["prompt"]

    assert written.startswith("term0, term1, ")
    assert len(written) <= 800
    assert written.split(", ")[-1] in terms


def test_models_without_times_get_short_clips():
    assert known("gpt-transcribe").max_part_ms == 30_000
    assert known("gpt-4o-transcribe-diarize").max_part_ms == 720_000
    assert known("whisper-1").max_part_ms == 720_000


def test_nothing_is_known_of_a_model_that_no_table_lists():
    assert known("Systran/faster-whisper-small") is None


def test_what_is_remembered_of_a_model_is_what_was_found():
    for found in CANDIDATES:
        assert Capability.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_what_older_versions_remembered_is_understood():
    stored = WHISPER.as_json()
    stored["again"], stored["longest_ms"] = stored.pop("second_pass"), stored.pop("max_ms")

    assert Capability.from_json(stored) == WHISPER
