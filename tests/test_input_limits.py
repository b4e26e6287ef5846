"""Embedding servers that take fewer texts at once, and a model that changes under way."""

from dataclasses import replace

import pytest
from django.db.models import F

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from tests.rows import completed_video
from videos.durable import runs
from videos.exceptions import ClaimLost
from videos.models import AudioPart, Call, Embedding, ProbedModel, Run, Step
from videos.pipeline import embed as stage
from videos.pipeline import estimate
from videos.pipeline.stages import stages

pytestmark = pytest.mark.django_db(transaction=True)

#: So long a text has a chunk and several passages.
TALK = [(4.0 * n, 4.0 * n + 4, f"This is the long sentence of number {n}.") for n in range(40)]


@pytest.fixture
def talk(upload, openai):
    openai.hear = lambda seconds: TALK
    return upload


@pytest.mark.parametrize("most", [1, 3, 10])
@pytest.mark.parametrize("status", [413, 422])
def test_a_batch_that_is_refused_is_halved_and_that_is_remembered(
    talk, worker, openai, most, status
):
    openai.refuses_more_than = (most, status)

    first = ended(talk())
    refused = [call for call in openai.embedded() if call.status == status]
    asked_first = len(openai.embedded())
    openai.hear = lambda seconds: [(s, e, f"{text} Anew.") for s, e, text in TALK]
    second = ended(talk(language="en"))

    assert (first.status, second.status) == ("completed", "completed"), first.error
    learned = ProbedModel.objects.get().capability["max_inputs"]
    assert most // 2 <= learned <= most
    assert all(len(call.inputs) <= learned for call in openai.embedded()[asked_first:])
    vectors = Embedding.objects.filter(chunk__revision=second.revision)
    assert vectors.filter(segment_index=None).count() == second.revision.chunks.count()
    assert vectors.count() > 5
    failed = Call.objects.filter(service="embedding", state="failed")
    assert failed.count() == len(refused) > 0
    assert not Call.objects.filter(state__in=("sent", "unknown")).exists()


def test_a_limit_that_is_set_is_kept_from_the_start(talk, worker, openai, settings):
    settings.CHRONOS_EMBEDDING_MAX_INPUTS = 3
    openai.refuses_more_than = (3, 422)

    assert ended(talk()).status == "completed"

    assert {call.status for call in openai.embedded()} == {200}
    assert not ProbedModel.objects.exists()


def test_one_text_that_is_refused_is_the_texts_fault(talk, worker, openai):
    openai.refuses_more_than = (0, 422)

    video = ended(talk())

    assert video.error_code == "rejected"
    assert not ProbedModel.objects.exists()


def test_what_was_paid_before_a_worker_died_is_not_asked_again(
    talk, worker, openai, settings, monkeypatch
):
    settings.CHRONOS_EMBEDDING_MAX_INPUTS = 3
    original, stored = stage._Embedding._store, []

    def die_after_one(*arguments):
        original(*arguments)
        stored.append(1)
        if len(stored) == 1:
            Run.objects.update(token=F("token") + 1)
            raise ClaimLost("killed")

    monkeypatch.setattr(stage._Embedding, "_store", die_after_one)
    talk()
    eventually(lambda: stored)
    runs.take_from_worker(list(Run.objects.all()), deaths=0)

    eventually(lambda: Run.objects.filter(state="completed").exists())

    texts = [text for call in openai.embedded() for text in call.inputs]
    assert len(texts) == len(set(texts))


def test_paying_again_goes_on_where_it_was_broken_off(talk, worker, openai, settings):
    settings.CHRONOS_EMBEDDING_MAX_INPUTS = 3
    video = ended(talk())
    before = len(openai.embedded())
    failed = []

    def fail_once(call):
        asked = len(openai.embedded()) - before
        return Fault(500, times=1) if asked == 2 and not failed and not failed.append(1) else None

    openai.take_fault = fail_once
    try:
        video.reprocess(from_stage="embed")
        ended(video)
    finally:
        del openai.take_fault

    assert failed and video.status == "completed", video.error
    assert len(openai.embedded()) == 2 * before + 1, "each was paid once more, and one failed"


def test_vectors_of_zero_are_named(talk, worker, openai, monkeypatch):
    original = openai._embedded

    def forget_chunks(call):
        answer = original(call)
        longest = max(range(len(call.inputs)), key=lambda at: len(call.inputs[at]))
        answer["data"][longest]["embedding"] = [0.0] * openai.dimensions
        return answer

    monkeypatch.setattr(openai, "_embedded", forget_chunks)

    video = ended(talk())

    assert [warning["code"] for warning in video.warnings] == ["no_vector"]
    assert (video.warnings[0]["start"], video.warnings[0]["end"]) == (0, 8)


def test_a_model_that_changes_before_the_end_is_embedded_in_as_well(
    upload, worker, openai, settings, monkeypatch
):
    """Workers of before the change embed; one of after it finishes."""
    finish = stages["finish"]

    def change_first(claim):
        settings.CHRONOS_EMBEDDING_MODEL = "other-embed"
        finish.stage.work(claim)

    changed = replace(finish, stage=replace(finish.stage, work=change_first))
    every = [changed if each is finish else each for each in stages.values()]
    monkeypatch.setattr(stages, "_stages", every)

    video = ended(upload())

    assert video.status == "completed", video.error
    models = set(Embedding.objects.values_list("model", flat=True))
    assert models == {"text-embedding-3-small", "other-embed"}
    assert Step.objects.filter(stage="embed", state="done").count() == 2


def test_what_is_known_is_not_estimated_again(creator):
    video = completed_video(creator)

    assert estimate.estimate([video], "embed").embedding_tokens > 0
    assert estimate.estimate([video], "chunk").embedding_tokens == 0
    assert estimate.estimate([video], "chunk", force=True).embedding_tokens > 0
    assert estimate.estimate([video], "transcribe").audio_seconds == 60


def test_what_is_transcribed_already_is_not_estimated_again(creator):
    video = completed_video(creator)
    transcript = video.transcripts.get()
    type(transcript).objects.update(completed_at=None)
    result = {"language": "en", "segments": []}
    for start, done in ((0, result), (20_000, result), (40_000, None)):
        AudioPart.objects.create(
            transcript=transcript, start_ms=start, end_ms=start + 20_000, result=done
        )

    assert estimate.estimate([video], None).audio_seconds == pytest.approx(20)
