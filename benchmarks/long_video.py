"""How long an hour of video takes, and how much memory six hours do.

`.venv/bin/python benchmarks/long_video.py [hour] [six-hours]` transcribes an hour of the sample as
one upload, in parts of 20 minutes, and in our parts, by a service of the same speed; then a file
of six hours and 10 GB. It prints what docs/figures.md holds.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402
from tests.openai_server import OpenAIServer  # noqa: E402

#: Seconds of audio that the service hears in a second.
SPEED = 20.0
IN_FLIGHT = 16
HOUR_S = 3600
LOOK_S = 0.2
#: 3.9 Mbit/s of pictures: six hours of them are 10 GB.
NOISE = "nullsrc=s=640x360:r=10,geq=random(1)*255:128:128"
MIB = 1024**2


def make_recording(path: Path, seconds: int, *, noise: bool) -> None:
    """Loop the sample; with noise, behind pictures that make the file large."""
    from tests.media import run_ffmpeg

    sample = PROJECT / "sample" / "lecture.mp4"
    looped = ("-stream_loop", -1, "-i")
    if not noise:
        run_ffmpeg(*looped, sample, "-c", "copy", "-t", seconds, path)
        return
    pictures = path.with_name("noise.mp4")
    rate = ("-c:v", "libx264", "-preset", "ultrafast", "-b:v", "3.8M", "-minrate", "3.8M")
    run_ffmpeg(
        "-f", "lavfi", "-i", NOISE, "-t", 10, *rate, "-maxrate", "3.9M", "-bufsize", "2M", pictures
    )
    both = ("-map", "0:v", "-map", "1:a", "-c", "copy", "-t", seconds)
    run_ffmpeg(*looped, pictures, *looped, sample, *both, path)


@contextmanager
def working(part_minutes: int | None) -> Any:
    """Have a worker process work, cut as asked; yield its process id."""
    from videos.management.waiting import start_worker, stop
    from videos.models import Worker

    os.environ["BENCHMARK_PART_MINUTES"] = "" if part_minutes is None else str(part_minutes)
    worker = start_worker(1, 4, subprocess.DEVNULL)
    try:
        while not (alive := Worker.objects.first()):
            time.sleep(LOOK_S)
        yield alive.pid
    finally:
        stop(worker)


def transcribe(path: Path) -> Any:
    """Upload a file and return its video once that is completed."""
    from django.contrib.auth import get_user_model
    from django.core.files import File

    from videos.models import Video

    creator = get_user_model().objects.create_user(f"creator{time.time_ns()}")
    with path.open("rb") as file:
        video = Video.objects.create(creator=creator, file=File(file, name=path.name))
    while video.status not in ("completed", "failed"):
        time.sleep(LOOK_S)
        video.refresh_from_db()
    assert video.status == "completed", video.error
    return video


def seconds_of(video: Any) -> float:
    """Return the seconds from the stored upload to completed."""
    return float((video.completed_at - video.created_at).total_seconds())


def bound_s(video: Any) -> float:
    """Return the time of the first call, and the slowest chain of calls after it.

    In a chain, each call waits for the one before it; nothing waits for the decoder.
    """
    from videos.audio.splitting import Part
    from videos.models import Call

    first = Call.objects.filter(video_id=video.pk).earliest("sent_at").sent_at
    chains = [0.0] * IN_FLIGHT
    for row in video.transcripts.get().parts.all():
        shortest = heapq.heappop(chains)
        part = Part(row.start_ms, row.end_ms, row.speech)
        heapq.heappush(chains, shortest + part.upload_ms / 1000 / SPEED)
    return float((first - video.created_at).total_seconds()) + max(chains)


def an_hour(folder: Path) -> None:
    """One upload, parts of 20 minutes, our parts."""
    path = folder / "hour.mp4"
    make_recording(path, HOUR_S, noise=False)
    print(
        f"An hour of video; the service hears {SPEED:.0f} s a second, {IN_FLIGHT} calls at once\n"
    )
    print(
        "| cut | parts | until completed, s | times as fast | of the bound |\n|---|---|---|---|---|"
    )
    single = None
    for name, minutes in [
        ("one upload", 0),
        ("every 20 minutes", 20),
        ("in pauses, by plan", None),
    ]:
        with working(minutes):
            video = transcribe(path)
        taken = seconds_of(video)
        single = single or taken
        parts = video.transcripts.get().parts.count()
        share = f"{bound_s(video) / taken:.0%}"
        print(f"| {name} | {parts} | {taken:.1f} | {single / taken:.1f} | {share} |", flush=True)


def six_hours(folder: Path) -> None:
    """Time and memory of a long, large file."""
    path = folder / "long.mp4"
    make_recording(path, 6 * HOUR_S, noise=True)
    size = path.stat().st_size / 1000**3
    with working(None) as pid:
        idle = memory_mib(pid, "VmRSS")
        video = transcribe(path)
        peak = memory_mib(pid, "VmHWM")
    print(f"\n| six hours, {size:.1f} GB | |\n|---|---|")
    print(f"| until completed, s | {seconds_of(video):.1f} |")
    print(f"| worker, idle, MiB | {idle} |")
    print(f"| worker, at most, MiB | {peak} |")


MEASURED = {"hour": an_hour, "six-hours": six_hours}


def memory_mib(pid: int, field: str) -> int:
    """Return a figure of /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) // 1024


def child() -> None:
    """Work with the services that the parent started."""
    import django

    command = [sys.executable, "-m", "benchmarks.speech", str(SPEED)]
    service = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    os.environ["OPENAI_BASE_URL"] = service.stdout.readline().strip()
    django.setup()
    try:
        with tempfile.TemporaryDirectory(prefix="chronos-benchmark-") as folder:
            for name in sys.argv[1:] or MEASURED:
                MEASURED[name](Path(folder))
    finally:
        service.kill()
        service.wait()


if __name__ == "__main__":
    if is_child():
        child()
    else:
        run_again(OPENAI_API_KEY=OpenAIServer.key, CHRONOS_PARTS_IN_FLIGHT=IN_FLIGHT)
