"""Many at once: small files ingested by a command, and videos processed again by one (B12).

    .venv/bin/python benchmarks/bulk.py [FILES [VIDEOS]]

Nothing is transcribed: there is no worker. What is measured is what it takes until all wait.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402


def main() -> None:
    """Ingest files, then process videos again, and publish."""
    given = [int(argument) for argument in sys.argv[1:]]
    files, videos = given or ([50, 100] if IS_QUICK else [1_000, 10_000])
    if not is_child():
        run_again()
        return
    import django

    django.setup()
    ingested, again = files / ingest(files), videos / reprocess(videos)
    table = [
        "| what | a second |",
        "|---|---|",
        f"| {files:,} small files by `ingest` | {ingested:.0f} |",
        f"| {videos:,} videos by `reprocess` | {again:.0f} |",
    ]
    lines = [
        Line(f"{files:,} small files ingested, a second", f"{ingested:.0f}", "", "50"),
        Line(f"{videos:,} videos begun again, a second", f"{again:.0f}", "", "1,000"),
    ]
    bars = {"Chronos, ingest": ingested, "Chronos, reprocess": again}
    publish("B12", lines, table, bars, "a second")


def ingest(count: int) -> float:
    """Return the seconds that it takes to ingest so many files."""
    from django.core.management import call_command

    from tests.media import run_ffmpeg
    from videos.models import Run

    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "0.mp3"
        run_ffmpeg("-f", "lavfi", "-i", "sine=440:duration=1", first)
        for number in range(1, count):
            first.with_name(f"{number}.mp3").write_bytes(first.read_bytes() + b"%d" % number)
        begun = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            call_command("ingest", folder, "--creator", "ada", "--create-creator", verbosity=0)
        taken = time.perf_counter() - begun
    assert Run.objects.count() == count
    return taken


def reprocess(count: int) -> float:
    """Return the seconds that it takes to begin so many completed videos again."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from videos.models import Chunk, Revision, Run, Transcript, Video

    creator = get_user_model().objects.create(username="grace")
    rows = [
        Video(creator=creator, title=f"Talk {number}", file="none.mp4", status="completed")
        for number in range(count)
    ]
    Video.objects.bulk_create(rows)
    transcripts = Transcript.objects.bulk_create(
        Transcript(video=row, model="m", capability={}, asked={}, completed_at=row.created_at)
        for row in rows
    )
    revisions = Revision.objects.bulk_create(
        Revision(video=row, transcript=transcript, chunked_at=row.created_at)
        for row, transcript in zip(rows, transcripts, strict=True)
    )
    Chunk.objects.bulk_create(
        Chunk(
            revision=revision,
            index=0,
            start=0,
            end=1,
            first_segment=0,
            last_segment=0,
            text="text",
            word_count=1,
            token_count=1,
            content_hash="0" * 64,
        )
        for revision in revisions
    )
    for row, revision in zip(rows, revisions, strict=True):
        row.revision = revision
    Video.objects.bulk_update(rows, ["revision"], batch_size=1_000)
    before = Run.objects.count()
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        call_command("reprocess", "--creator", "grace", "--from", "embed", verbosity=0)
    taken = time.perf_counter() - begun
    assert Run.objects.count() - before == count
    return taken


if __name__ == "__main__":
    main()
