"""What it costs to get the audio out of an hour of video, cut and ready to be sent.

`.venv/bin/python benchmarks/decoding.py [RUNS]` compares our pass (parts, the whole audio, where
somebody speaks, duration) with what ffmpeg itself takes for the whole audio and its silences, and
with other codecs. It prints what docs/figures.md holds: medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
HOUR_S = 3600
MIB = 1024**2


def ffmpeg(source: Path, *output: object, pictures: bool = False) -> Callable[[], None]:
    """Return a call of ffmpeg alone."""
    from videos.audio.ffmpeg import ffmpeg_path

    left_out = () if pictures else ("-vn", "-sn", "-dn")
    program = [ffmpeg_path(), "-nostdin", "-y", "-v", "info", "-threads", "1", *left_out]
    command = [*program, "-i", source, "-map", "0:a:0", *output]
    return lambda: subprocess.run(list(map(str, command)), capture_output=True, check=True) and None


def our_pass(source: Path, codec: str) -> Callable[[], None]:
    """Return our own pass, without calls of a service."""
    from django.test import override_settings

    from videos.audio.splitting import Limits
    from videos.pipeline.transcribe.cutting import MediaFile, cut_media
    from videos.pipeline.transcribe.producer import AudioEnd

    def cut() -> None:
        with (
            override_settings(CHRONOS_UPLOAD_CODEC=codec),
            tempfile.TemporaryDirectory() as folder,
        ):
            listening = cut_media(
                MediaFile.read(source, ""),
                Path(folder),
                Limits(HOUR_S * 1000, 16),
                [],
            )
            arrived = threading.Event()
            listening.start(arrived.set)
            while not any(isinstance(message, AudioEnd) for message in listening.arrived()):
                arrived.wait()
                arrived.clear()
            listening.stop()

    return cut


def measured(act: Callable[[], None], runs: int) -> tuple[float, float]:
    """Return the median seconds, and CPU seconds, of so many runs after one to warm up."""
    walls, cpus = [], []
    for _ in range(runs + 1):
        wall, cpu = time.monotonic(), cpu_s()
        act()
        walls.append(time.monotonic() - wall)
        cpus.append(cpu_s() - cpu)
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    os.environ.update({"CHRONOS_ENV_FILE": os.devnull, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()
    from tests.media import run_ffmpeg

    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "hour.mp4"
        sample = PROJECT / "sample" / "lecture.mp4"
        run_ffmpeg("-stream_loop", -1, "-i", sample, "-c", "copy", "-t", HOUR_S, source)
        mono = ("-ac", "1", "-ar", "16000", "-sample_fmt", "s16")
        flac = ("-af", "silencedetect", *mono, "-c:a", "flac", folder / "whole.flac")
        opus = ("-b:a", "24k", "-compression_level", "0")
        rows = {
            "ffmpeg: FLAC and silences, as one writes it": ffmpeg(source, *flac, pictures=True),
            "ffmpeg: FLAC and silences, without pictures": ffmpeg(source, *flac),
            "ffmpeg: silences, stream copied": ffmpeg(
                *(source, "-af", "silencedetect", *mono, "-f", "null", "-"),
                *("-map", "0:a:0", "-c", "copy", folder / "copy.m4a"),
            ),
            "our pass: FLAC twice (whole and parts), speech": our_pass(source, "flac"),
            "our pass: whole as FLAC, parts as Opus": our_pass(source, "opus"),
            "ffmpeg: Opus": ffmpeg(source, *mono, "-c:a", "libopus", *opus, folder / "w.ogg"),
        }
        print("| an hour of AAC in MP4 | seconds | CPU seconds |\n|---|---|---|")
        for title, act in rows.items():
            wall, cpu = measured(act, runs)
            print(f"| {title} | {wall:.2f} | {cpu:.2f} |", flush=True)
        for path in (folder / "whole.flac", folder / "copy.m4a", folder / "w.ogg"):
            print(f"| {path.suffix[1:]}, MiB | {path.stat().st_size / MIB:.0f} | |")


if __name__ == "__main__":
    main()
