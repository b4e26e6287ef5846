"""What the local recognizer gets wrong, and what it and the aligner cost.

`.venv/bin/python benchmarks/recognition.py [AUDIO TEXT …]` prints what docs/figures.md holds: the
wrong words of each audio file beside a file with its text, of the sample, and of half an hour of
it.
"""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
HALF_AN_HOUR_S = 1800
RATE = 16_000


def read(path: Path) -> Any:
    from videos.audio.ffmpeg import ffmpeg_path

    command = [ffmpeg_path(), "-v", "error", "-i", path, "-ac", "1", "-ar", str(RATE)]
    raw = subprocess.run([*command, "-f", "s16le", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<i2")


def errors(reference: str, heard: str) -> tuple[int, int]:
    """Return the least number of words to change, and the number of words (Levenshtein)."""
    said, recognized = (
        re.sub(r"[^\w' ]", " ", text.lower()).split() for text in (reference, heard)
    )
    costs = list(range(len(recognized) + 1))
    for row, word in enumerate(said, start=1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(recognized, start=1):
            change = diagonal + (word != other)
            diagonal = costs[column]
            costs[column] = min(costs[column] + 1, costs[column - 1] + 1, change)
    return costs[-1], len(said)


def measured(act: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.monotonic(), time.process_time()
    result = act()
    return result, time.monotonic() - wall, time.process_time() - cpu


def main() -> None:
    from django.conf import settings

    settings.configure()
    from chronos.embedded import speech_models
    from chronos.embedded.recognizer import Recognizer
    from scripts.make_sample import SAMPLE, TOPICS
    from videos.audio import speech_models as listening

    text = " ".join(sentence for sentences in TOPICS.values() for sentence in sentences)
    given = [
        (Path(a), Path(t).read_text()) for a, t in zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    ]
    folder = speech_models.find("", PROJECT)
    recognizer, load_s, _ = measured(lambda: Recognizer(folder))
    aligner = listening.aligner(folder)
    print(f"loaded in {load_s:.2f} s\n")
    print("| recording | seconds | words | errors | until done, s | CPU s | voice, CPU s |")
    print("|---|---|---|---|---|---|---|")
    sample = read(SAMPLE)
    times = HALF_AN_HOUR_S * RATE // len(sample)
    cases = [(path.stem, read(path), said) for path, said in given]
    cases += [
        ("sample", sample, text),
        ("half an hour of it", np.tile(sample, times), text * times),
    ]
    off: list[float] = []
    align_cpu_s = aligned_s = 0.0
    for name, samples, said in cases:
        heard, wall_s, cpu_s = measured(lambda samples=samples: recognizer.recognize(samples))
        _, _, voice_s = measured(lambda samples=samples: listening.voiced(samples))
        wrong, words = errors(said, heard.text)
        print(
            f"| {name} | {len(samples) / RATE:.0f} | {words} | {wrong} "
            f"| {wall_s:.1f} | {cpu_s:.1f} | {voice_s:.2f} |"
        )
        if name == "half an hour of it":
            continue
        first = [s for s in heard.segments if s.end <= listening.MAX_ALIGNED_S]
        clip = samples[: int(first[-1].end * RATE)]
        plain = " ".join(segment.text.strip() for segment in first)
        aligned, _, cpu_s = measured(
            lambda clip=clip, plain=plain: aligner.align(clip, plain, "en")
        )
        align_cpu_s, aligned_s = align_cpu_s + cpu_s, aligned_s + len(clip) / RATE
        own = [word for segment in first for word in segment.words]
        off += [abs(a[0] - o.start) for a, o in zip(aligned, own, strict=True)]
    hundredths = statistics.quantiles(off, n=100)
    print(
        f"\naligning: {align_cpu_s / aligned_s * 60:.2f} CPU s a minute; words begin off the "
        f"recognizer's own by {statistics.median(off):.2f} s (median), {hundredths[94]:.2f} s (p95)"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory of all of it: {peak} MiB")


if __name__ == "__main__":
    main()
