"""How long an hour of video takes (B3), and how much memory six hours and many videos do (B8).

    .venv/bin/python benchmarks/long_video.py [hour] [memory]

An hour of the sample is transcribed as one upload, in parts of 20 minutes, and in our parts, by a
service of the same speed. Then one worker gets a file of six hours and 10 GB, and 1,000 short ones.
"""

from __future__ import annotations

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

from benchmarks.fairness import sound  # noqa: E402
from benchmarks.report import IS_QUICK, Line, publish  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402
from benchmarks.throughput import await_true  # noqa: E402
from tests.openai_server import OpenAIServer  # noqa: E402

#: Seconds of audio that the service hears in a second.
SPEED = 20.0
IN_FLIGHT = 16
HOUR_S, WARM_UP_S = 40 if IS_QUICK else 3600, 5
LONG_HOURS, MANY, LOOKS = (1, 20, 2) if IS_QUICK else (6, 1_000, 5)
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
    """Return the least time: until the first call, and then all calls, side by side to the end.

    Nothing waits for the decoder, or is done after the calls.
    """
    from videos.models import Call

    first = Call.objects.filter(video_id=video.pk).earliest("sent_at").sent_at
    lengths = [row.part.upload_ms / 1000 for row in video.transcripts.get().parts.all()]
    calls_s = max(sum(lengths) / IN_FLIGHT, *lengths) / SPEED
    return float((first - video.created_at).total_seconds()) + calls_s


def an_hour(folder: Path) -> None:
    """One upload, parts of 20 minutes, our parts."""
    path, brief = folder / "hour.mp4", folder / "brief.mp4"
    make_recording(path, HOUR_S, noise=False)
    make_recording(brief, WARM_UP_S, noise=False)
    table = [
        "| cut | parts | until completed, s | times as fast | of the bound |",
        "|---" * 5 + "|",
    ]
    taken: dict[str, float] = {}
    for name, minutes in [
        ("one upload", 0),
        ("every 20 minutes", 20),
        ("Chronos: in pauses, by plan", None),
    ]:
        with working(minutes):
            transcribe(brief)
            video = transcribe(path)
        taken[name] = seconds_of(video)
        parts = video.transcripts.get().parts.count()
        share, faster = bound_s(video) / taken[name], taken["one upload"] / taken[name]
        table.append(f"| {name} | {parts} | {taken[name]:.1f} | {faster:.1f} | {share:.0%} |")
    line = Line(
        "an hour, by a service of 20 s a second; of the bound",
        f"{taken[name]:.1f} s, {faster:.1f} x as fast; {share:.0%}",
        f"{taken['one upload']:.1f} s (one upload)",
        "14 x; 95%",
    )
    publish("B3", [line], table, taken, "seconds until completed")


def memory(folder: Path) -> None:
    """Memory of one worker: idle, at most in a long and large file, and after many short ones."""
    path = folder / "long.mp4"
    make_recording(path, LONG_HOURS * HOUR_S, noise=True)
    size = path.stat().st_size / 1000**3
    with working(None) as pid:
        idle = memory_mib(pid, "VmRSS")
        video = transcribe(path)
        found = {
            "idle": idle,
            f"at most in {LONG_HOURS} hours, {size:.1f} GB": memory_mib(pid, "VmHWM"),
        }
        for number in range(1, LOOKS + 1):
            transcribe_many(MANY // LOOKS)
            found[f"after {number * MANY // LOOKS} more videos"] = memory_mib(pid, "VmRSS")
        most = memory_mib(pid, "VmHWM")
    table = ["| a worker of 4 threads | MiB |", "|---|---|"]
    table += [f"| {name} | {mib} |" for name, mib in found.items()]
    table.append(f"| at most | {most} |")
    table.append(f"\nThe long file took {seconds_of(video):.1f} s.")
    line = Line("memory over idle, at most, MiB", f"{most - idle}", "", "60")
    bars = {f"Chronos, {name}": float(mib) for name, mib in found.items()}
    publish("B8", [line], table, bars, "MiB")


def transcribe_many(count: int) -> None:
    """Upload short recordings, all different, and wait for them."""
    from django.contrib.auth import get_user_model
    from django.core.files.base import ContentFile

    from videos.models import Video

    creator = get_user_model().objects.create_user(f"creator{time.time_ns()}")
    done = Video.objects.filter(creator=creator, status="completed")
    for number in range(count):
        file = ContentFile(sound(number), name="talk.wav")
        Video.objects.create(creator=creator, file=file)
    await_true(lambda: done.count() == count)


MEASURED = {"hour": an_hour, "memory": memory}


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
        run_again(
            OPENAI_API_KEY=OpenAIServer.key,
            CHRONOS_PARTS_IN_FLIGHT=IN_FLIGHT,
            CHRONOS_CREATOR_CONCURRENCY=0,
        )
