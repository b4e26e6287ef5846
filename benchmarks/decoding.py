"""What it costs to get the audio out of an hour of video, cut and ready to be sent (B4).

    .venv/bin/python benchmarks/decoding.py [RUNS]

Ours finds parts, the whole audio, where somebody speaks, and the duration; beside it is what ffmpeg
itself takes for the whole audio and its silences, and for other codecs.
"""

from __future__ import annotations

import os
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

from benchmarks.report import IS_QUICK, Line, publish, spread  # noqa: E402

HOUR_S = 60 if IS_QUICK else 3600
OURS, COMMAND = "Chronos: FLAC twice, speech", "ffmpeg: FLAC and silences"


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


def measured(acts: dict[str, Callable[[], None]], runs: int) -> dict[str, list[float]]:
    """Return the seconds of so many turns of each, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(runs + 1):
        for name, act in acts.items():
            begun = time.monotonic()
            act()
            taken[name].append(time.monotonic() - begun)
    return {name: each[1:] for name, each in taken.items()}


def main() -> None:
    """Measure all in turns, and publish."""
    os.environ.update({"CHRONOS_ENV_FILE": os.devnull, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()
    from tests.media import run_ffmpeg

    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1 if IS_QUICK else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "hour.mp4"
        sample = PROJECT / "sample" / "lecture.mp4"
        run_ffmpeg("-stream_loop", -1, "-i", sample, "-c", "copy", "-t", HOUR_S, source)
        mono = ("-ac", "1", "-ar", "16000", "-sample_fmt", "s16")
        flac = ("-af", "silencedetect", *mono, "-c:a", "flac", folder / "whole.flac")
        opus = ("-b:a", "24k", "-compression_level", "0")
        taken = measured(
            {
                OURS: our_pass(source, "flac"),
                COMMAND: ffmpeg(source, *flac),
                "ffmpeg: the same, with pictures": ffmpeg(source, *flac, pictures=True),
                "ffmpeg: silences, stream copied": ffmpeg(
                    *(source, "-af", "silencedetect", *mono, "-f", "null", "-"),
                    *("-map", "0:a:0", "-c", "copy", folder / "copy.m4a"),
                ),
                "Chronos: parts as Opus": our_pass(source, "opus"),
                "ffmpeg: Opus": ffmpeg(
                    source, *mono, "-c:a", "libopus", *opus, folder / "whole.ogg"
                ),
            },
            runs,
        )
    table = [f"| an hour of AAC in MP4, {runs} times | seconds |", "|---|---|"]
    table += [f"| {name} | {spread(each, 2)} |" for name, each in taken.items()]
    middle = {name: statistics.median(each) for name, each in taken.items()}
    line = Line(
        "audio out of an hour of video, s",
        f"{middle[OURS]:.2f}, {middle[OURS] / middle[COMMAND]:.2f} x",
        f"{middle[COMMAND]:.2f} (the ffmpeg command)",
        "1.0 x",
    )
    publish("B4", [line], table, middle, "seconds, median")


if __name__ == "__main__":
    main()
