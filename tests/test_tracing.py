"""Traces: one for what an event started, with stages, steps and calls, and no word of it."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from videos.durable import tracing
from videos.models import Run, Segment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter.get_finished_spans


def test_a_video_is_one_trace_from_upload_to_end(upload, worker, spans):
    video = ended(upload())
    run = Run.objects.get()
    eventually(lambda: any(span.name == "process_video finish" for span in spans()))

    found = spans()
    assert {span.context.trace_id for span in found} == {run.event_id.int}
    stages = {span.name: span for span in found if span.name.startswith("process_video")}
    assert {name.split()[1] for name in stages} == {"transcribe", "chunk", "embed", "finish"}
    assert stages["process_video finish"].attributes["chronos.state"] == "completed"
    calls = [span for span in found if span.name.endswith(" call")]
    assert {span.name for span in calls} == {"transcription call", "embedding call"}
    steps = {span.context.span_id for span in found if span.name.startswith("step of ")}
    assert {span.parent.span_id for span in calls} <= steps
    assert all(span.start_time <= span.end_time for span in found)
    assert all(str(video.pk) == span.attributes["chronos.video.id"] for span in stages.values())
    told = " ".join(span.to_json() for span in found)
    assert Segment.objects.exists()
    assert not any(segment.text in told for segment in Segment.objects.all())


def test_a_failure_is_told_by_its_code(upload, worker, openai, spans):
    openai.faults.append(Fault(path="transcriptions", status=400, times=99))

    ended(upload())
    (stage,) = eventually(
        lambda: [span for span in spans() if span.name == "process_video transcribe"]
    )
    assert stage.status.status_code.name == "ERROR"
    assert stage.attributes["error.type"] == "rejected"
    assert stage.attributes["chronos.state"] == "failed"
    assert "refused the input" not in " ".join(span.to_json() for span in spans())


@pytest.mark.parametrize("installed", [True, False])
def test_without_the_sdk_or_its_api_nothing_is_asked(upload, worker, monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(tracing, "trace", None)
    monkeypatch.setattr(tracing, "_add_steps", lambda *_: pytest.fail("it asked for steps"))

    assert ended(upload()).status == "completed"
