"""ffmpeg: what is in a media file, and its audio as PCM. Untrusted files end here.

ffmpeg runs in a child process, started through `launcher`: limited in CPU time, memory and
file size, without network where the kernel allows it, and reading nothing but the one file.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from videos import launcher
from videos.conf import conf
from videos.exceptions import Misconfigured, NoAudio, UnreadableMedia
from videos.splitting import SAMPLE_RATE

#: The containers that are read. Formats that name other files (playlists, concat, image
#: sequences, …) are not among them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,asf,asf_o,ogg,"
    "mp3,aac,flac,wav,w64,aiff,caf,amr,ac3,eac3,dts,opus,au,gxf,mxf,nut,rm,dv,wv,tta,ape"
)
_MEMORY_BYTES = 2 * 1024**3
_PROBE_CPU_S = 30
#: PCM samples handed on at a time: 5 seconds.
_BLOCK_SAMPLES = SAMPLE_RATE * 5
_STDERR_LINES = 200

_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_AUDIO = re.compile(r"Stream #0:\d+.*: Audio: (\w+)")
_BROKEN = re.compile(
    r"partial file|Truncat|truncat|Invalid data found|error while decoding|End of file|corrupt",
)


@dataclass(frozen=True)
class Probe:
    """What a file says of itself; `duration_ms` is None where it does not say."""

    duration_ms: int | None
    audio_codec: str


@cache
def ffmpeg_path() -> str:
    """Return the ffmpeg program in use.

    Raises:
        Misconfigured: if there is none.
    """
    try:
        return conf().ffmpeg or imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise Misconfigured(
            "No ffmpeg was found: install the imageio-ffmpeg package, or set CHRONOS_FFMPEG."
        ) from error


def can_leave_network() -> bool:
    """Tell, by a child process, whether the kernel lets ffmpeg have no network at all."""
    tried = [sys.executable, "-I", "-S", launcher.__file__, launcher.PROBE]
    return subprocess.run(tried, check=False).returncode == 0


def probe(path: Path) -> Probe:
    """Read a file's header.

    Raises:
        UnreadableMedia: if ffmpeg cannot make anything of the file.
        NoAudio: if it has no audio track.
    """
    done = subprocess.run(
        _caged(_input(path), _PROBE_CPU_S),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=2 * _PROBE_CPU_S,
    )
    return _read_header(done.stderr.decode(errors="replace"))


def _read_header(said: str) -> Probe:
    if "Input #0" not in said:
        raise UnreadableMedia(_why_unreadable(said))
    audio = _AUDIO.search(said)
    if audio is None:
        raise NoAudio(
            "The file has no audio track, so there is nothing to transcribe. "
            "Export the video again with sound, and upload that."
        )
    duration = _DURATION.search(said)
    if duration is None:
        return Probe(None, audio[1])
    hours, minutes, seconds = (float(value) for value in duration.groups())
    return Probe(round((hours * 3600 + minutes * 60 + seconds) * 1000), audio[1])


def _why_unreadable(said: str) -> str:
    if "whitelist" in said:
        reason = "It is a playlist or another format that names other files."
    elif "moov atom not found" in said:
        reason = "It has no index: it is no MP4, or its upload was cut off."
    else:
        reason = "It is no video or audio file that ffmpeg can read."
    return f"{reason} Upload the original file again, or export it as MP4."


class Decoding:
    """A running ffmpeg that delivers 16 kHz mono PCM on the video's own clock."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said: deque[str] = deque(maxlen=_STDERR_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def blocks(self) -> Iterator[npt.NDArray[np.int16]]:
        """Yield the samples, up to 5 seconds at a time, until the file ends or breaks off."""
        stdout = self._process.stdout
        assert stdout is not None
        while data := stdout.read(_BLOCK_SAMPLES * 2):
            yield np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")

    def is_broken(self) -> bool:
        """Tell, after the last block, whether ffmpeg complained of missing or damaged data."""
        self._process.wait()
        self._listener.join()
        return self._process.returncode != 0 or any(_BROKEN.search(line) for line in self._said)

    def was_killed(self) -> bool:
        """Tell, after the last block, whether a signal ended ffmpeg, as its limits do."""
        return self._process.wait() < 0

    def kill(self) -> None:
        """End ffmpeg now."""
        self._process.kill()

    def _listen(self) -> None:
        stderr: IO[bytes] | None = self._process.stderr
        assert stderr is not None
        for line in stderr:
            self._said.append(line[:500].decode(errors="replace"))


@contextmanager
def decode(path: Path, cpu_s: int) -> Iterator[Decoding]:
    """Decode the default audio track; ffmpeg is gone when the block ends, however it ends.

    Audio that starts late or has gaps is filled with silence (`aresample=async=1`), so that a
    sample's position is its time.
    """
    program = [
        *_input(path),
        *("-map", "0:a:0", "-vn", "-sn", "-dn", "-af", "aresample=async=1:first_pts=0"),
        *("-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "pipe:1"),
    ]
    process = subprocess.Popen(
        _caged(program, cpu_s),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    decoding = Decoding(process)
    try:
        yield decoding
    finally:
        process.kill()
        process.wait()
        decoding._listener.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _caged(program: list[str], cpu_s: int) -> list[str]:
    """Return the command that runs ffmpeg under limits; it may write nothing but its pipes."""
    return launcher.command(
        program, cpu_s=cpu_s, memory_bytes=_MEMORY_BYTES, file_bytes=0, no_network=True
    )


def _input(path: Path) -> list[str]:
    return [
        *(ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-threads", "1"),
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS),
        *("-i", f"file:{path}"),
    ]
