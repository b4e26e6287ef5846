"""A copy of a media file that every browser plays: H.264 and AAC in MP4."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from videos.audio import ffmpeg
from videos.local import sandbox

_HEIGHT = 720
#: Constant quality, a little better than ffmpeg's own 23 of x264 is worth on a screen of lectures.
_CRF = "26"
_MEMORY_BYTES = 4 * 1024**3
_CHECK_S = 0.5


class NotConverted(Exception):
    """Raised when ffmpeg cannot make a copy; says what it said last."""


def convert(
    path: Path,
    target: Path,
    *,
    has_pictures: bool,
    cpu_s: int,
    max_bytes: int,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write a copy to `target`; `check` is called twice a second, and may end it by raising.

    ffmpeg gets the target as an open file: it may write there, and nowhere else.

    Raises:
        NotConverted: if it cannot be made within `cpu_s` seconds of CPU time and `max_bytes`.
    """
    pictures = (
        *("-map", "0:v:0", "-c:v", "libx264", "-preset", "veryfast", "-crf", _CRF),
        *("-vf", f"scale=-2:'min({_HEIGHT},trunc(ih/2)*2)',format=yuv420p"),
    )
    with target.open("wb") as copy:
        program = [
            *ffmpeg.read_from(path, "-v", "error", "-sn", "-dn"),
            *(pictures if has_pictures else ("-vn",)),
            *("-map", "0:a:0?", "-c:a", "aac", "-b:a", "96k", "-ac", "2"),
            *("-map_metadata", "-1", "-f", "mp4", "-fd", str(copy.fileno()), "fd:"),
        ]
        process = subprocess.Popen(
            sandbox.command(
                program,
                cpu_s=cpu_s,
                memory_bytes=_MEMORY_BYTES,
                file_bytes=max_bytes,
                no_network=True,
                readable=[str(path)],
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[copy.fileno()],
            start_new_session=True,
        )
        said = _await(process, check)
    if process.returncode != 0:
        raise NotConverted(said.strip()[-ffmpeg.STDERR_LINE_BYTES :] or "it was ended")


def _await(process: subprocess.Popen[bytes], check: Callable[[], object]) -> str:
    """Wait for ffmpeg, and return the end of what it said; it is gone in any case."""
    assert process.stderr is not None
    lines: list[bytes] = []

    def listen() -> None:
        while line := process.stderr.readline(ffmpeg.STDERR_LINE_BYTES):  # type: ignore[union-attr]
            lines.append(line)
            del lines[: -ffmpeg.STDERR_LINES]

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        while True:
            try:
                process.wait(_CHECK_S)
                break
            except subprocess.TimeoutExpired:
                check()
        listener.join()
    finally:
        if process.poll() is None:  # Its id is still its own.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join()
        process.stderr.close()
    return b"".join(lines).decode(errors="replace")
