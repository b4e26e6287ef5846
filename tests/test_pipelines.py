"""Videos through real workers: what comes out, and what is paid."""

import threading

import numpy as np
import pytest
from django.db import connection
from django.db.models.deletion import Collector
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import ended, eventually
from tests.media import make_audio
from tests.openai_server import Fault
from tests.rows import completed_video
from videos import events
from videos.durable import execution
from videos.durable.registry import registry
from videos.exceptions import EventRefused
from videos.models import (
    AudioPart,
    Call,
    Chunk,
    Embedding,
    Event,
    Run,
    Segment,
    Step,
    Transcript,
    Video,
    Worker,
)
from videos.pipeline import storage
from videos.pipeline.transcribe import cutting
from videos.search import search

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_uploaded_video_becomes_searchable(upload, worker, openai):
    video = ended(upload(language="en"))

    assert (video.status, video.error) == ("completed", "")
    assert video.duration_s == pytest.approx(8, abs=0.1)
    assert (video.progress, video.coverage, video.warnings) == (1, 1, [])
    assert Segment.objects.filter(transcript__video=video).count() == 2
    assert Chunk.objects.get(revision=video.revision).text.startswith("This is sentence")
    assert Embedding.objects.filter(chunk__revision=video.revision, segment_index=None).exists()
    assert (len(openai.transcribed()), len(openai.embedded())) == (1, 1)
    assert openai.transcribed()[0].fields["language"] == "en"


def test_every_call_is_in_the_ledger_once(upload, worker, openai):
    video = ended(upload())

    calls = Call.objects.filter(video_id=video.pk)
    assert {(call.service, call.state, call.used) for call in calls} == {
        ("transcription", "answered", True),
        ("embedding", "answered", True),
    }
    assert calls.get(service="transcription").audio_seconds == 8
    assert float(calls.get(service="transcription").cost_usd) == pytest.approx(8 / 60 * 0.006)


def test_a_short_video_costs_few_transactions(upload, openai):
    """What the first of a process does once is among them: it asks which models are known."""
    Worker.objects.create(pid=1, host="h", threads=4, last_seen=timezone.now())
    video = upload()
    with CaptureQueriesContext(connection) as captured:
        execution.execute(video.runs.get().pk, "transcribe")

    video.refresh_from_db()
    assert (video.status, video.error) == ("completed", "")
    asked = [query["sql"] for query in captured]
    in_transaction, count = False, 0
    for sql in asked:
        in_transaction = sql == "BEGIN" or (in_transaction and sql != "COMMIT")
        count += not in_transaction
    assert count <= 22
    assert len(asked) <= 133


def test_vectors_stay_where_a_run_cannot_be_moved_on_with_them(upload, worker, openai, monkeypatch):
    raised = []
    original = type(registry.hooks).entered

    def entered(self, run, stage):
        if stage == "finish" and not raised:
            raised.append(stage)
            raise ValueError("the hook is broken")
        original(self, run, stage)

    monkeypatch.setattr(type(registry.hooks), "entered", entered)

    video = ended(upload())

    assert (video.status, raised) == ("completed", ["finish"])
    assert len(openai.embedded()) == 1
    assert Call.objects.get(service="embedding").used


def test_run_steps_and_events_tell_what_happened(upload, worker):
    video = ended(upload())

    run = Run.objects.get(video=video)
    assert (run.state, run.holds_slot, run.lease_until) == ("completed", False, None)
    assert run.attempt == 1
    assert list(run.steps.values_list("stage", "key", "state", "attempts")) == [
        ("transcribe", "audio", "done", 1),
        ("transcribe", "0-8000 ms", "done", 1),
        ("chunk", "chunks", "done", 1),
        ("embed", "chunks 0-0, text-embedding-3-small/32", "done", 1),
        ("finish", "revision", "done", 1),
    ]
    assert sorted(Event.objects.values_list("name", flat=True)) == [
        "video/completed",
        "video/transcribe.requested",
        "video/transcription.completed",
    ]


def test_reprocessing_from_chunk_calls_no_transcription(upload, worker, openai):
    video = ended(upload())
    before = video.revision_id
    openai.calls.clear()

    video.reprocess(from_stage="chunk")

    assert ended(video).status == "completed"
    assert video.revision_id != before
    assert (len(openai.transcribed()), len(openai.embedded())) == (0, 0)
    assert video.revisions.count() == 1


def test_reprocessing_from_transcribe_pays_again(upload, worker, openai):
    video = ended(upload())
    openai.calls.clear()

    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "completed"
    assert len(openai.transcribed()) == 1
    assert video.transcripts.count() == 1


def test_a_failed_video_resumes_at_the_step_that_failed(upload, worker, openai):
    openai.faults.append(Fault(status=401, path="embeddings"))
    video = ended(upload())
    assert (video.status, video.error_code) == ("failed", "unauthorized")
    openai.calls.clear()

    run = video.reprocess()

    assert run.stage == "embed"
    assert ended(video).status == "completed"
    assert (len(openai.transcribed()), len(openai.embedded())) == (0, 1)


def test_batch_reprocess_embeds_again_without_transcribing(upload, worker, openai):
    videos = [ended(upload()) for _ in range(3)]
    openai.calls.clear()

    event = events.send(
        "video/embeddings.batch-reprocess", {"video_ids": [video.pk for video in videos]}
    )

    eventually(lambda: event.runs.filter(state="completed").count() == 3)
    assert set(event.runs.values_list("queue", flat=True)) == {"bulk"}
    assert (len(openai.transcribed()), len(openai.embedded())) == (0, 3)
    assert {video.status for video in Video.objects.all()} == {"completed"}


def test_a_long_video_is_cut_into_parts_with_true_times(upload, worker, openai, tmp_path):
    video = ended(upload(make_audio(tmp_path / "long.mp3", 215)))

    parts = list(AudioPart.objects.filter(transcript__video=video))
    assert len(parts) == len(openai.transcribed()) == 3
    assert [part.start_ms for part in parts] == [0, parts[0].end_ms, parts[1].end_ms]
    starts = list(Segment.objects.filter(transcript__video=video).values_list("start", flat=True))
    assert starts == sorted(starts)
    assert starts[-1] > 170


def test_a_transient_failure_is_retried_for_its_part_alone(upload, worker, openai, tmp_path):
    openai.faults.append(Fault(status=500, path="transcriptions", times=2))

    video = ended(upload(make_audio(tmp_path / "long.mp3", 215)))

    assert video.status == "completed"
    assert len(openai.transcribed()) == 3 + 2
    assert Call.objects.filter(service="transcription", used=True).count() == 3
    assert Call.objects.filter(state="failed", http_status=500).count() == 2


def test_retries_end_and_the_video_says_whose_fault_it_was(upload, worker, openai):
    openai.faults.append(Fault(status=503, path="transcriptions", times=99))

    video = ended(upload())

    assert (video.status, video.error_code) == ("failed", "service_unavailable")
    assert len(openai.transcribed()) == 1 + 3
    assert Step.objects.get(key="0-8000 ms").state == "failed"


def test_waiting_for_a_service_costs_no_retry(upload, worker, openai):
    busy = Fault(status=429, path="transcriptions", times=6, headers={"Retry-After-Ms": "20"})
    openai.faults.append(busy)

    video = ended(upload())

    assert video.status == "completed"
    assert Step.objects.get(key="0-8000 ms").failures == 0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"cut_off": True, "status": 200}, "completed"),
        ({"status": 200, "body": b"this is no JSON"}, "completed"),
        ({"status": 200, "body": {"words": "no text"}}, "completed"),
        ({"status": 400}, "rejected"),
        ({"status": 413}, "rejected"),
    ],
)
def test_broken_answers_are_retried_and_refusals_are_not(upload, worker, openai, fault, code):
    openai.faults.append(Fault(path="transcriptions", **fault))

    video = ended(upload())

    assert code in (video.status, video.error_code)
    assert len(openai.transcribed()) == (2 if code == "completed" else 1)


def test_a_wrong_key_fails_at_once_and_is_not_shown(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_API_KEY = "sk-secret-and-wrong"

    video = ended(upload())

    assert video.error_code == "unauthorized"
    assert len(openai.transcribed()) == 1
    assert "sk-secret" not in video.error + Call.objects.get().error


def test_an_account_without_quota_fails_instead_of_waiting(upload, worker, openai):
    said = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    openai.faults.append(Fault(status=429, path="transcriptions", body=said))

    video = ended(upload())

    assert video.error_code == "unauthorized"
    assert "quota" in video.error


def test_an_unknown_model_is_a_misconfiguration(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "whisper-99"

    assert ended(upload()).error_code == "misconfigured"
    assert len(openai.transcribed()) == 1


def test_a_video_deleted_while_processed_leaves_only_the_ledger(upload, worker, openai):
    openai.gate.clear()
    video = upload()
    stored_in, name = video.file.storage, video.file.name
    eventually(lambda: Call.objects.filter(state="sent").exists())

    video.delete()
    openai.gate.set()

    eventually(lambda: Call.objects.get().state in ("answered", "unknown"))
    assert not Call.objects.get().used
    assert not stored_in.exists(name)
    assert not Run.objects.exists()
    assert ended(upload()).status == "completed"


def test_a_running_video_can_be_cancelled_and_resumed(upload, worker, openai):
    openai.gate.clear()
    video = upload()
    eventually(lambda: Call.objects.filter(state="sent").exists())

    assert video.cancel()

    assert ended(video).status == "cancelled"
    openai.gate.set()
    video.reprocess()
    assert ended(video).status == "completed"


def test_a_failed_reprocess_leaves_the_old_revision_serving(upload, worker, openai):
    video = ended(upload())
    revision = video.revision_id
    openai.faults.append(Fault(status=401, path="transcriptions"))

    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "failed"
    assert video.revision_id == revision
    assert Chunk.objects.filter(revision=revision).exists()


def test_a_resumed_decoding_never_cuts_the_last_part_again(upload, worker, openai, tmp_path):
    odd = make_audio(tmp_path / "odd.wav", 30.007)
    openai.faults.append(Fault(status=503, path="transcriptions", times=99))
    video = ended(upload(odd))
    (part,) = AudioPart.objects.filter(transcript__video=video)
    Transcript.objects.update(cut_at=None, audio="")
    openai.faults.clear()

    video.reprocess()

    assert ended(video).status == "completed"
    assert AudioPart.objects.get().pk == part.pk
    assert part.end_ms % 20 != 0


def test_a_resumed_video_is_transcribed_by_the_corrected_model(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "whisper-99"
    video = ended(upload())
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-4o-transcribe"

    video.reprocess()

    assert ended(video).status == "completed"
    assert Call.objects.get(service="transcription", used=True).model == "gpt-4o-transcribe"
    assert openai.transcribed()[-1].fields["response_format"] == "json"


def test_a_failed_embedding_resumes_without_transcribing_again(upload, worker, openai):
    video = ended(upload())
    openai.faults.append(Fault(status=401, path="embeddings"))
    video.reprocess(from_stage="embed")
    assert ended(video).status == "failed"
    openai.calls.clear()

    assert video.reprocess().stage == "embed"

    assert ended(video).status == "completed"
    assert (len(openai.transcribed()), len(openai.embedded())) == (0, 1)


def test_searches_use_the_serving_model_until_all_have_the_new_one(
    upload, worker, openai, settings
):
    first, second = ended(upload()), ended(upload())
    settings.CHRONOS_EMBEDDING_MODEL = "other-embed"
    openai.dimensions = settings.CHRONOS_EMBEDDING_DIMENSIONS

    first.reprocess(from_stage="embed")
    ended(first)

    assert search("sentence", Video.objects.all())
    assert openai.embedded()[-1].model == "text-embedding-3-small"
    second.reprocess(from_stage="embed")
    ended(second)
    assert search("sentence", Video.objects.all())
    assert openai.embedded()[-1].model == "other-embed"


def test_a_cancel_during_a_short_stage_is_not_lost(upload, worker, openai):
    openai.faults.append(Fault(status=200, path="embeddings", delay_s=0.5))
    video = upload()
    eventually(lambda: Call.objects.filter(service="embedding", state="sent").exists())

    assert video.cancel()

    assert ended(video).status == "cancelled"
    assert not Chunk.objects.filter(revision=video.revision).exists()


def test_a_full_disk_costs_no_call_that_is_out(
    upload, worker, openai, tmp_path, monkeypatch, settings
):
    settings.CHRONOS_DISK_WAIT_S = 0.1
    full = [storage.disk_full()]
    write = cutting._write_upload
    openai.gate.clear()

    def fail_once(folder, part, samples):
        if part.start_ms and full:
            eventually(openai.transcribed)
            threading.Timer(0.3, openai.gate.set).start()
            raise full.pop()
        return write(folder, part, samples)

    monkeypatch.setattr(cutting, "_write_upload", fail_once)

    video = ended(upload(make_audio(tmp_path / "long.flac", 240)), timeout_s=60)

    assert (video.status, full) == ("completed", [])
    recognized = Call.objects.filter(service="transcription")
    assert set(recognized.values_list("state", flat=True)) == {"answered"}
    assert recognized.filter(used=True).count() == video.transcripts.get().parts.count()


def test_a_service_that_counts_no_tokens_can_be_used(upload, worker, openai, monkeypatch):
    answered = openai._embedded
    monkeypatch.setattr(
        openai, "_embedded", lambda call: {**answered(call), "usage": {"total_tokens": None}}
    )

    video = ended(upload())

    assert video.status == "completed", video.error
    assert Call.objects.get(service="embedding").tokens == 0


@pytest.mark.parametrize(
    ("number", "error_code"),
    [(1e5, ""), (1e-9, ""), (0.0, "bad_response"), ("NaN", "bad_response")],
)
def test_vectors_are_stored_by_their_direction(upload, worker, openai, number, error_code):
    vectors = [{"object": "embedding", "index": 0, "embedding": [number] * openai.dimensions}]
    body = {"object": "list", "model": "any", "data": vectors}
    openai.faults = [Fault(200, body, path="embeddings", times=9)]

    assert ended(upload()).error_code == error_code
    for row in Embedding.objects.all():
        assert np.linalg.norm(row.vector) == pytest.approx(1, abs=0.01)


def test_what_a_worker_wrote_while_rows_were_collected_is_deleted_too(creator, monkeypatch):
    video = completed_video(creator)
    delete = Collector.delete

    def write_first(self):
        monkeypatch.setattr(Collector, "delete", delete)
        Chunk.objects.create(
            **{"revision": video.revision, "index": 99, "text": "late", "start": 0, "end": 1},
            **{"first_segment": 0, "last_segment": 0, "word_count": 1, "token_count": 1},
        )
        return delete(self)

    monkeypatch.setattr(Collector, "delete", write_first)

    video.delete()

    assert not Chunk.objects.exists()


def test_a_video_that_cannot_be_requested_is_not_stored(creator):
    with pytest.raises(EventRefused):
        Video.objects.create(creator=creator, file="")

    assert not Video.objects.exists()


def test_a_cancel_does_not_wait_for_a_long_text(upload, worker, openai, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def chunk_for_ever(segments):
        begun.set()
        go_on.wait(30)
        return []

    monkeypatch.setattr("videos.pipeline.chunk.chunking.chunk", chunk_for_ever)
    video = upload()
    assert begun.wait(20)

    video.cancel()

    assert ended(video, timeout_s=10).status == "cancelled"
    go_on.set()
