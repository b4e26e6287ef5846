"""Who waits how long when many creators upload at once.

`.venv/bin/python benchmarks/fairness.py` processes 200 videos of 20 creators, 3 at a time each,
and then lets a new creator upload behind 2,000 queued videos of 200 others. Workers are 2
processes of 8 threads; the service is an HTTP server here that answers after a second. It prints
what docs/figures.md holds.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import time
import wave
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

PROCESSES, THREADS = 2, 8
CONCURRENCY = 3
ANSWERS_AFTER_S = 1.0
LATE_AFTER_S = 20.0
LOOK_S = 0.05


def sound(number: int) -> bytes:
    """Return a WAV file of about 4 s that no other number gives."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1000) + b"\x00\x20\x00\xe0" * (16000 + number))
    return content.getvalue()


def upload(creators: int, videos: int) -> None:
    """Create so many videos, creator by creator, as a burst of one after the other would."""
    from django.contrib.auth import get_user_model
    from django.core.files.base import ContentFile

    from videos.models import Video

    for creator in range(creators):
        user = get_user_model().objects.create_user(f"creator{time.time_ns()}")
        for number in range(videos // creators):
            file = ContentFile(sound(creator * 100 + number), name="talk.wav")
            Video.objects.create(creator=user, file=file)


def watch() -> dict[str, Any]:
    """Look at the runs until all have ended; return the most of a creator, and idle threads."""
    from videos.models import ACTIVE_STATES, Run

    most = 0
    looks = busy = wanting = 0
    while True:
        active = list(Run.objects.filter(state__in=ACTIVE_STATES).values("creator_id", "state"))
        if not active:
            break
        running = [run for run in active if run["state"] == "running"]
        most = max(most, *Counter(run["creator_id"] for run in running).values(), 0)
        if len(active) >= 2 * PROCESSES * THREADS:
            looks += 1
            busy += len(running)
            wanting += len(running) == 0
        time.sleep(LOOK_S)
    return {
        "most": most,
        "busy": busy / looks / (PROCESSES * THREADS),
        "idle": wanting,
        "looks": looks,
    }


def waits() -> list[float]:
    """Return the mean seconds that each creator's videos waited for their start."""
    from videos.models import Run

    by_creator: dict[Any, list[float]] = defaultdict(list)
    for run in Run.objects.filter(started_at__isnull=False):
        by_creator[run.creator_id].append((run.started_at - run.created_at).total_seconds())
    return sorted(statistics.mean(seconds) for seconds in by_creator.values())


def stage_s() -> float:
    """Return the longest stage of the runs so far, in seconds."""
    from django.db.models import F, Max

    from videos.models import Step

    taken = Step.objects.filter(state="done").aggregate(
        longest=Max(F("finished_at") - F("started_at"))
    )
    return float(taken["longest"].total_seconds())


def all_at_once() -> None:
    """200 videos of 20 creators."""
    begun = time.monotonic()
    upload(20, 200)
    seen = watch()
    seconds = time.monotonic() - begun
    waited = waits()
    mean = statistics.mean(waited)
    print("| 200 videos of 20 creators, 3 at a time each | |\n|---|---|")
    print(f"| until all were completed, s | {seconds:.0f} |")
    print(f"| most runs of one creator at once | {seen['most']} |")
    print(f"| threads busy while videos waited | {seen['busy']:.0%} |")
    print(f"| looks without any running | {seen['idle']} of {seen['looks']} |")
    print(f"| mean wait, s | {mean:.1f} |")
    print(f"| mean wait of the creator who waited longest, s | {waited[-1]:.1f} |")


def behind_many() -> None:
    """A new creator's upload behind 2,000 videos of 200 others."""

    from videos.models import ACTIVE_STATES, Run, Video

    Run.objects.all().delete()
    upload(200, 2000)
    time.sleep(LATE_AFTER_S)
    waiting = Run.objects.filter(state__in=ACTIVE_STATES).count()
    upload(1, 1)
    late = Run.objects.order_by("-created_at").first()
    assert late is not None
    while not late.started_at:
        time.sleep(LOOK_S / 5)
        late.refresh_from_db()
    wait_s = (late.started_at - late.created_at).total_seconds()
    print("\n| an upload behind 2,000 videos of 200 creators | |\n|---|---|")
    print(f"| runs that had not ended | {waiting} |")
    print(f"| wait of the new creator's upload, s | {wait_s:.2f} |")
    print(f"| longest step of a stage so far, s | {stage_s():.2f} |")
    for video in Video.objects.filter(status__in=["pending", "transcribing"]):
        video.cancel()


def child() -> None:
    """Work with the services that the parent started."""
    import django

    from tests.openai_server import Fault, OpenAIServer

    service = OpenAIServer(dimensions=32)
    service.start()
    service.faults.append(
        Fault(status=200, path="transcriptions", times=10**6, delay_s=ANSWERS_AFTER_S)
    )
    os.environ.update({"OPENAI_BASE_URL": service.url, "OPENAI_API_KEY": service.key})
    django.setup()
    from videos.durable.capacity import live_slots
    from videos.management.waiting import start_worker, stop

    worker = start_worker(PROCESSES, THREADS, subprocess.DEVNULL)
    try:
        while live_slots() < PROCESSES * THREADS:
            time.sleep(LOOK_S)
        all_at_once()
        behind_many()
    finally:
        stop(worker)


if __name__ == "__main__":
    if is_child():
        child()
    else:
        run_again(CHRONOS_CREATOR_CONCURRENCY=CONCURRENCY)
