"""A stage and a provider of one's own, in a project that adds them by what is documented."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import PROJECT, worker_environment
from videos.models import Call, Run, Segment, Video

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

FILES = [path for path in (PROJECT / "tests" / "extension").glob("*.py") if path.stem != "__init__"]


class Listener(BaseHTTPRequestHandler):
    """Hears one sentence in whatever it gets, once it has asked to wait."""

    asked: list[dict[str, list[str]]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(parse_qs(urlsplit(self.path).query))
        is_first = len(self.asked) == 1
        self.send_response(429 if is_first else 200)
        self.send_header("Retry-After", "0.1")
        self.end_headers()
        if not is_first:
            said = [{"from": 0.0, "to": 7.5, "said": "Beeps are recognized by dictation alone."}]
            answer = {"utterances": said, "lang": "en", "billed_s": 60.0}
            self.wfile.write(json.dumps(answer).encode())


@pytest.fixture
def dictation():
    Listener.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def manage(dictation):
    """Call a command of the project that is extended; return what it prints."""

    def call(*arguments):
        environment = worker_environment() | {
            "DJANGO_SETTINGS_MODULE": "tests.extension.settings",
            "DICTATION_URL": dictation,
        }
        command = [sys.executable, "-m", "django", *arguments, "--json"]
        done = subprocess.run(
            command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_a_stage_and_a_provider_take_three_files(manage, clip, openai):
    assert len(FILES) == 3

    (shown,) = manage("ingest", str(clip), "--creator", "ada", "--create-creator", "--wait")[
        "videos"
    ]

    assert (shown["status"], shown["error"]) == ("completed", None)
    assert openai.transcribed() == []
    assert [each["ref"] for each in Listener.asked] == [
        [str(call.pk)] for call in Call.objects.filter(service="transcription").order_by("sent_at")
    ]
    assert Segment.objects.get().text == "Beeps are recognized by dictation alone."
    booked = Call.objects.get(service="transcription", used=True)
    assert (booked.model, float(booked.cost_usd)) == ("dictate-1", 0.6)

    run = Run.objects.get()
    steps = run.steps.filter(stage="summarize").order_by("pk").values_list("key", "state")
    assert list(steps) == [("texts", "done"), ("summary 1", "done")]
    chat = Call.objects.filter(service="chat").order_by("sent_at")
    assert [(call.state, call.used, float(call.cost_usd)) for call in chat] == [
        ("failed", False, 0),
        ("answered", True, 0.006),
    ]


def test_a_video_can_be_processed_again_from_a_stage_of_ones_own(manage, clip, openai):
    (shown,) = manage("ingest", str(clip), "--creator", "ada", "--create-creator", "--wait")[
        "videos"
    ]
    calls = Call.objects.exclude(service="chat").count()
    revision = Video.objects.get().revision_id

    (run_id,) = manage("reprocess", shown["id"], "--from", "summarize", "--wait")["runs"]

    again = Run.objects.get(pk=run_id)
    assert (again.state, again.function) == ("completed", "tests.extension.summarize")
    assert set(again.steps.values_list("stage", flat=True)) == {"summarize", "finish"}
    assert Call.objects.exclude(service="chat").count() == calls
    assert Video.objects.get().revision_id == revision
    assert Call.objects.filter(service="chat", used=True).count() == 2


def test_a_stage_that_fails_resumes_where_it_ended(manage, clip, openai):
    manage("ingest", str(clip), "--creator", "ada", "--create-creator", "--wait")
    video = Video.objects.get()
    Run.objects.update(state="failed", stage="summarize")
    Video.objects.update(status="failed", revision=None)

    (run_id,) = manage("reprocess", str(video.pk), "--wait")["runs"]

    steps = Run.objects.get(pk=run_id).steps
    assert set(steps.values_list("stage", flat=True)) == {"summarize", "finish"}
    # What it has finished is not asked, nor paid, again.
    assert Call.objects.filter(service="chat", used=True).count() == 1
