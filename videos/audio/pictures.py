"""A frame of a video as a small JPEG, taken by the same sandboxed ffmpeg as its audio."""

from __future__ import annotations

import threading
from pathlib import Path

from videos.audio import ffmpeg

#: Where a frame is taken: past a black beginning, and never far into the file.
_SHARE = 0.1
_MAX_AT_S = 30.0
_WIDTH = 640
_MAX_BYTES = 1024**2
_CPU_S = 20
_WITHIN_S = 30.0


def frame(path: Path, duration_ms: int | None) -> bytes | None:
    """Return a frame from a tenth of the way, 640 pixels wide at the most, as JPEG.

    None where the file has no pictures, or none that can be decoded in 20 s of CPU time: nobody
    misses a video for the want of one.
    """
    at_s = min((duration_ms or 0) / 1000 * _SHARE, _MAX_AT_S)
    program = [
        *ffmpeg.read_from(path, "-v", "quiet", "-ss", f"{at_s:.3f}", "-an", "-sn", "-dn"),
        *("-map", "0:v:0", "-frames:v", "1", "-vf", f"scale='min({_WIDTH},iw)':-2"),
        *("-c:v", "mjpeg", "-q:v", "5", "-f", "image2pipe", "pipe:1"),
    ]
    process = ffmpeg.start(path, program, _CPU_S)
    limit = threading.Timer(_WITHIN_S, process.kill)
    limit.start()
    try:
        picture = process.stdout.read(_MAX_BYTES + 1)
    finally:
        limit.cancel()
        process.end()
    is_whole = picture.endswith(b"\xff\xd9") and len(picture) <= _MAX_BYTES
    return picture if is_whole else None
