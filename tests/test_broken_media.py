"""Broken and hostile files through the whole pipeline: each ends as it may, and reads nothing else.

With `-s` the slow test prints the table of docs/figures.md.
"""

import socketserver
import tempfile
import threading
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.broken_media import SECONDS, every_file, reference_movie, some_files
from tests.conftest import eventually
from tests.media import BEEPS, run_ffmpeg
from videos.models import Run, Video

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def canary():
    """A server that nobody may call."""
    called = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            called.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", called
        server.shutdown()


@pytest.fixture(autouse=True)
def _own_work_folders(monkeypatch):
    """Other processes that test have theirs elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def process(files, upload, tmp_path):
    """Upload all, and return (file, video, seconds) of each once all have ended."""
    videos = []
    for number, broken in enumerate(files):
        path = tmp_path / f"upload{number}"
        path.write_bytes(broken.content)
        videos.append((broken, upload(path, name=broken.name)))
        path.unlink()

    def all_ended():
        return not Run.objects.filter(finished_at__isnull=True).exists()

    eventually(all_ended, timeout_s=len(files))
    ended = []
    for broken, video in videos:
        video.refresh_from_db()
        run = video.runs.get()
        ended.append((broken, video, (run.finished_at - run.started_at).total_seconds()))
    return ended


def are_right(ended, called):
    wrong = [
        (broken.name, video.status, video.error_code, video.error)
        for broken, video, _ in ended
        if (video.error_code or video.status) not in broken.outcomes
    ]
    assert wrong == []
    assert called == []
    assert not Run.objects.filter(deaths__gt=0).exists()
    assert not Run.objects.filter(holds_slot=True).exists()
    # Those with an owner are workers', for as long as they live.
    assert list(Path(tempfile.gettempdir()).glob("chronos-work-.*")) == []


def test_sixty_broken_files_end_as_they_may(upload, worker, tmp_path, canary, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 0
    files = every_file(tmp_path, canary[0])
    assert len(files) >= 300

    are_right(process(some_files(files, 60), upload, tmp_path), canary[1])


def test_a_reference_movie_would_be_followed_if_ffmpeg_were_let(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", BEEPS.format(seconds=SECONDS), tmp_path / "canary.wav")
    movie = tmp_path / "movie.mov"
    movie.write_bytes(reference_movie(tmp_path, str(tmp_path / "canary.wav")))

    sound = tmp_path / "sound.wav"
    run_ffmpeg("-enable_drefs", 1, "-use_absolute_path", 1, "-i", movie, sound)

    assert sound.stat().st_size > 80_000


@pytest.mark.slow
def test_all_broken_files_end_as_they_may(upload, worker, tmp_path, canary, settings):
    settings.CHRONOS_CREATOR_CONCURRENCY = 0
    ended = process(every_file(tmp_path, canary[0]), upload, tmp_path)

    are_right(ended, canary[1])
    print(f"\n{table(ended)}")


def table(ended):
    by_kind = defaultdict(list)
    for broken, video, seconds in ended:
        by_kind[broken.kind].append((video.error_code or video.status, seconds))
    lines = ["| files | number | ended as | longest, s |", "|---|---|---|---|"]
    for kind, rows in sorted(by_kind.items()):
        states = Counter(state for state, _ in rows)
        said = ", ".join(f"{count} {state}" for state, count in states.most_common())
        lines.append(f"| {kind} | {len(rows)} | {said} | {max(s for _, s in rows):.1f} |")
    lines.append(f"| all | {Video.objects.count()} | | |")
    return "\n".join(lines)
