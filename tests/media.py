"""Media for the tests, made by ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

from videos.audio.ffmpeg import ffmpeg_path


def run_ffmpeg(*arguments: object) -> None:
    subprocess.run([ffmpeg_path(), "-y", "-v", "error", *map(str, arguments)], check=True)


#: Half a second of tone, then 0.3 s of pause: sounds like words to a splitter.
BEEPS = "aevalsrc='0.3*sin(440*2*PI*t)*lt(mod(t,0.8),0.5)':d={seconds}:s=16000"


def make_video(path: Path, seconds: float = 8, *, faststart: bool = False) -> Path:
    """A small H.264/AAC video with beeps."""
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"color=c=blue:s=64x64:r=5:d={seconds}"),
        *("-f", "lavfi", "-i", BEEPS.format(seconds=seconds)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "64k", "-shortest"),
        *(("-movflags", "+faststart") if faststart else ()),
        path,
    )
    return path


def make_audio(path: Path, seconds: float) -> Path:
    """Beeps alone, as any audio format."""
    run_ffmpeg("-f", "lavfi", "-i", BEEPS.format(seconds=seconds), path)
    return path


def make_silence(path: Path, seconds: float = 6) -> Path:
    """A video whose sound is digital silence."""
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"color=c=blue:s=64x64:r=5:d={seconds}"),
        *("-f", "lavfi", "-i", f"anullsrc=r=16000:cl=mono:d={seconds}"),
        *("-c:v", "libx264", "-c:a", "aac", "-shortest", path),
    )
    return path


def make_mute(path: Path, seconds: float = 3) -> Path:
    """A video without an audio track."""
    run_ffmpeg("-f", "lavfi", "-i", f"color=c=blue:s=64x64:r=5:d={seconds}", path)
    return path
