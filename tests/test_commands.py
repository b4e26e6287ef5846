"""The commands as scripts call them: JSON, exit codes, errors."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import ManagementUtility
from django.utils import timezone

from tests.conftest import PROJECT, empty_database, ended, worker_environment
from tests.media import make_audio
from tests.rows import completed_video
from videos.models import Event, Revision, Run, Video, Worker
from videos.pipeline.estimate import estimate

pytestmark = pytest.mark.django_db(transaction=True)


def manage(*arguments, code=0):
    """Run a command, as manage.py does; return its output, as JSON if it was asked for."""
    stdout, stderr = io.StringIO(), io.StringIO()
    ended = 0
    with (
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        Path(os.devnull).open() as nobody,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", nobody)
        try:
            ManagementUtility(["manage.py", *map(str, arguments)]).execute()
        except SystemExit as left:
            ended = left.code or 0
    return _output(arguments, code, ended, stdout.getvalue(), stderr.getvalue())


def manage_process(*arguments, code=0, **environment):
    """Run manage.py in a process of its own, which may start workers; return as `manage`."""
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=PROJECT,
        env=worker_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return _output(arguments, code, done.returncode, done.stdout, done.stderr)


def _output(arguments, code, ended, stdout, stderr):
    assert ended == code, (stdout, stderr)
    manage.stderr = stderr
    return json.loads(stdout) if "--json" in arguments else stdout


def test_ingest_with_wait_starts_a_worker_and_returns_the_video(tmp_path):
    make_audio(tmp_path / "talk.flac", 9)

    document = manage_process(
        *("ingest", tmp_path / "talk.flac", "--creator", "ada", "--create-creator"),
        *("--title", "A talk", "--language", "en", "--wait", "--json"),
    )

    (video,) = document["videos"]
    assert (video["status"], video["title"], video["creator"]) == ("completed", "A talk", "ada")
    assert (video["progress"], video["coverage"], video["error"]) == (1, 1, None)
    assert list(video) == [
        *("id", "title", "creator", "status", "stage", "progress", "eta_s", "waiting_for"),
        *("duration_s", "language", "coverage", "warnings", "error", "error_code"),
        *("created_at", "completed_at"),
    ]
    assert "No worker is running" in manage.stderr


def test_ingest_of_a_folder_takes_every_file_even_an_empty_one(tmp_path, creator, worker):
    make_audio(tmp_path / "a.mp3", 5)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.mp4").touch()

    document = manage("ingest", tmp_path, "--creator", "ada", "--wait", "--json", code=1)

    assert [video["status"] for video in document["videos"]] == ["completed", "failed"]
    assert document["videos"][1]["error_code"] == "unreadable_media"
    assert manage.stderr.strip().splitlines()[-1].startswith("Failed: 1 of 2 videos")


def test_ingest_without_a_worker_warns_and_returns(tmp_path, creator):
    make_audio(tmp_path / "a.mp3", 5)

    document = manage("ingest", tmp_path / "a.mp3", "--creator", "ada", "--json")

    assert document["videos"][0]["status"] == "pending"
    assert document["videos"][0]["waiting_for"] == {"reason": "capacity", "until": None}
    assert "No worker is running" in manage.stderr


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("ingest", "/no/such/file.mp4", "--creator", "ada"), "path"),
        (("ingest", PROJECT / "README.md", "/no/such", "--creator", "ada"), "path"),
        (("ingest", PROJECT / "README.md", "--creator", "nobody"), "creator"),
        (("ingest", "", "--creator", "ada"), "path"),
        (("status", "no-id"), "video"),
        (("transcript", "0193a5c2-0000-7000-8000-000000000000"), "video"),
        (("search", "x", "--creator", "nobody"), "creator"),
        (("usage", "--creator", "nobody"), "creator"),
        (("reprocess", "no-id"), "video"),
        (("delete", "no-id", "--yes"), "video"),
        (("cancel", "no-id"), "video"),
    ],
)
def test_what_is_unknown_is_told_by_code_and_field(creator, arguments, field):
    document = manage(*arguments, "--json", code=1)

    assert (document["error"]["code"], document["error"]["field"]) == ("not_found", field)
    assert document["error"]["message"] in manage.stderr.strip().splitlines()[-1]
    assert not Video.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest", "README.md", "LICENSE", "--creator", "ada", "--captions", "x.srt"),
        ("transcript",),
        ("reprocess",),
        ("reprocess", "--status", "failed"),
        ("search", "x", "--mode", "psychic"),
        ("usage", "--since", "yesterday"),
        ("status", "--limit", "-1"),
        ("search", "  "),
        ("up", "--port", "99999"),
        ("ingest", "README.md", "--creator", "ada", "--language", "klingon"),
        ("ingest", "README.md", "--creator", "", "--create-creator"),
    ],
)
def test_wrong_usage_exits_with_two(arguments):
    manage(*arguments, code=2)


def test_a_database_without_tables_is_told_in_a_sentence(creator):
    with empty_database("empty_one") as url:
        document = manage_process("status", "--json", code=1, DATABASE_URL=url)

    assert "manage.py migrate" in document["error"]["message"]


def test_reprocessing_a_completed_video_needs_a_stage(creator):
    video = completed_video(creator)

    manage("reprocess", video.pk, code=2)

    assert "say from which stage" in manage.stderr


def test_resuming_is_estimated_at_what_is_left_to_pay(creator):
    video = completed_video(creator)
    Video.objects.update(status="failed")

    assert estimate([video], "transcribe").audio_seconds == 60
    video.refresh_from_db()
    assert estimate([video], None).audio_seconds == 0


def test_a_dry_run_estimates_and_starts_nothing(creator):
    video = completed_video(creator)

    document = manage("reprocess", video.pk, "--from", "transcribe", "--dry-run", "--json")

    assert document["runs"] == []
    assert document["estimate"]["audio_seconds"] == 60
    assert document["estimate"]["cost_usd"] == pytest.approx(0.006, abs=1e-4)
    assert not Event.objects.exists()


def test_reprocess_waits_and_returns_the_runs(upload, worker):
    video = ended(upload())

    document = manage("reprocess", video.pk, "--from", "chunk", "--wait", "--json")

    assert Run.objects.get(pk=document["runs"][0]).state == "completed"


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("video/unknown", "{}", "name"),
        ("video/chunk.requested", '{"creator_id": 1}', "video_id"),
        ("video/chunk.requested", "[1]", "data"),
        ("video/chunk.requested", "{", "data"),
    ],
)
def test_a_refused_event_says_which_field(name, data, field):
    document = manage("send_event", name, data, "--json", code=1)

    assert (document["error"]["code"], document["error"]["field"]) == ("invalid_event", field)
    assert not Event.objects.exists()


def test_send_event_returns_the_runs_it_started(creator):
    video = completed_video(creator)
    data = json.dumps({"video_ids": [str(video.pk)]})

    document = manage("send_event", "video/embeddings.batch-reprocess", data, "--json")

    assert document["runs"] == [str(Run.objects.get(queue="bulk").pk)]


def test_what_is_known_of_a_video(creator):
    video = completed_video(creator, segments=2)

    transcript = manage("transcript", video.pk, "--json")
    assert transcript["text"] == "This is sentence number 0. This is sentence number 1."
    assert list(transcript["segments"][0]) == [
        *("index", "start", "end", "text", "speaker"),
        *("suspicious", "timing", "words"),
    ]
    assert manage("transcript", video.pk, "--format", "vtt").startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:05.000\nThis is sentence number 0.\n"
    )
    (chunk,) = manage("chunks", video.pk, "--json")["chunks"]
    assert (chunk["word_count"], chunk["dimensions"]) == (10, 32)
    (run,) = manage("runs", video.pk, "--json")["runs"]
    assert manage("runs", "--limit", 0, "--json")["runs"] == [run]
    assert (run["state"], run["steps"][0]["key"]) == ("completed", "chunks 0-0")
    (hit,) = manage("search", "number", "--json")["results"]
    assert (hit["video_id"], hit["start"], hit["chunk_index"]) == (str(video.pk), 0.0, 0)
    status = manage("status", "--json")
    assert set(status) == {
        *("videos", "queues", "runs", "breakers", "workers", "unserved", "set_aside", "deletions"),
    }
    assert status["queues"] == {"bulk": 0, "default": 0}
    assert manage("usage", "--json")["rows"][0]["embedding_tokens"] == 100
    assert manage("sweep", "--json") == {"redispatched": 0, "requeued": 0, "released": 0}


def test_a_reader_that_has_enough_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runs", "--json"],
        cwd=PROJECT,
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()


def test_runs_tells_what_an_event_started_or_why_nothing(creator):
    run = completed_video(creator).runs.get()
    event = Event.objects.create(name="nobody/cares", data={}, dispatched_at=timezone.now())

    nothing = manage("runs", "--event", event.pk, "--json")
    assert nothing["runs"] == []
    assert "No function is started" in nothing["event"]["why_nothing"]
    assert "No runs. No function" in manage("runs", "--event", event.pk)

    Run.objects.filter(pk=run.pk).update(event=event)
    started = manage("runs", "--event", event.pk, "--json")
    assert [each["id"] for each in started["runs"]] == [str(run.pk)]
    assert started["event"]["why_nothing"] == ""
    manage("runs", "--event", run.pk, code=2)


def test_deleting_leaves_the_ledger(upload, worker):
    video = ended(upload())
    storage, name = video.file.storage, video.file.name

    manage("delete", video.pk, code=2)
    document = manage("delete", video.pk, "--yes", "--json")

    assert document["videos"][0]["id"] == str(video.pk)
    assert not Video.objects.exists()
    assert not storage.exists(name)
    assert manage("usage", "--json")["rows"][0]["transcription_calls"] == 1


def test_usage_for_people_names_its_columns(django_user_model):
    creator = django_user_model.objects.create(username="a-name-of-more-than-sixteen-letters")
    completed_video(creator)

    names, row = manage("usage").splitlines()

    assert re.split(r"\s{2,}", names)[:4] == [
        *("month", "creator", "audio, s (calls)", "tokens (calls)")
    ]
    assert len(names) == len(row)
    assert creator.get_username() in row


def test_runs_for_people_name_their_video(creator):
    video = completed_video(creator)

    assert f"video {video.pk}" in manage("runs").splitlines()[0]


@pytest.mark.parametrize(
    "command",
    [
        *("ingest", "status", "transcript", "chunks", "search", "reprocess", "cancel", "delete"),
        *("send_event", "runs", "usage", "services"),
    ],
)
def test_help_has_examples(command):
    assert "examples:" in manage(command, "--help")


def test_reprocessing_many_leaves_out_those_that_cannot(creator):
    first, failed, last = (completed_video(creator) for _ in range(3))
    failed.revision.chunks.all().delete()
    Revision.objects.filter(pk=failed.revision_id).update(chunked_at=None)

    document = manage("reprocess", "--all", "--from", "embed", "--json")

    runs = Run.objects.filter(pk__in=document["runs"])
    assert {run.video_id for run in runs} == {first.pk, last.pk}
    assert "Left out" in manage.stderr


def test_the_same_video_twice_is_deleted_once(creator):
    video = completed_video(creator)

    document = manage("delete", video.pk, video.pk, "--yes", "--json")

    assert [entry["id"] for entry in document["videos"]] == [str(video.pk)]
    assert not Video.objects.exists()


def test_a_limit_beyond_all_rows_is_wrong_usage():
    manage("runs", "--limit", "9" * 25, code=2)


def test_ingest_starts_a_worker_of_its_own_once_the_one_it_counted_on_is_gone(tmp_path):
    make_audio(tmp_path / "talk.flac", 9)
    ending = timezone.now() - timedelta(seconds=7)
    Worker.objects.create(pid=1, host="elsewhere", threads=1, last_seen=ending)

    (video,) = manage_process(
        *("ingest", tmp_path / "talk.flac", "--creator", "ada", "--create-creator"),
        *("--wait", "--json"),
    )["videos"]

    assert video["status"] == "completed"
    assert "one is started for as long as this command waits" in manage.stderr


def test_what_a_video_is_warned_of_is_printed_for_people(creator):
    video = completed_video(creator)
    warnings = [
        {"code": "truncated_media", "message": "It was cut off.", "start": None, "end": None},
        {"code": "suspicious_text", "message": "It repeats.", "start": 65.2, "end": 70},
    ]
    Video.objects.update(warnings=warnings)

    listed, shown = manage("status"), manage("status", video.pk)

    assert "truncated_media: It was cut off." in listed
    assert "and 1 more: see --json" in listed
    assert "suspicious_text: 1:05 It repeats." in shown


def test_a_video_without_a_transcript_has_none_to_print(upload):
    video = upload()
    Video.objects.update(status="failed", error="The file is empty.")

    assert manage("transcript", video.pk, "--format", "vtt", code=1) == ""
    assert "has no transcript, it is failed: The file is empty." in manage.stderr
    assert manage("transcript", video.pk, "--json")["segments"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("usage", "--since", "1.11.2026"), "is not a date, such as 2026-11-01"),
        (("ingest", "x", "--creator", "a", "--language", "xx"), "is not an ISO 639-1 code"),
        (("ingest", "x", "--creator", "a", "--language", "EN"), "is not an ISO 639-1 code"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, said):
    manage(*arguments, code=2)

    assert said in manage.stderr


def test_wrong_arguments_are_a_document_too():
    refused = manage("usage", "--since", "nonsense", "--json", code=2)

    assert refused["error"]["code"] == "usage"
    assert "nonsense" in refused["error"]["message"]
