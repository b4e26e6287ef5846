"""ffmpeg: what is in a media file, and its audio as PCM. Untrusted files end here.

ffmpeg runs in a child process, started through `local.sandbox`: limited in CPU time, memory and
file size, and where the kernel knows how, without network, sockets, our environment, and any
file but the one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import imageio_ffmpeg

from videos.audio.ffmpeg_output import Probe, read_header
from videos.audio.parts import SAMPLE_RATE
from videos.conf import conf
from videos.exceptions import (
    ChronosError,
    DecoderLost,
    Misconfigured,
    TooLong,
)
from videos.local import launcher, sandbox
from videos.local.launcher import Launched

if TYPE_CHECKING:
    from videos.audio.mixing import Samples

#: The containers that are read. Formats that name other files (playlists, concat, image
#: sequences, …) are not among them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,asf,asf_o,ogg,"
    "mp3,aac,flac,wav,w64,aiff,caf,amr,ac3,eac3,dts,opus,au,gxf,mxf,nut,rm,dv,wv,tta,ape"
)
_MEMORY_BYTES = 2 * 1024**3
_PROBE_CPU_S = 10
#: A disk that does not answer costs no CPU time.
_PROBE_WITHIN_S = 60.0
_READ_WITHIN_S = 900.0
_ENCODE_CPU_S = 600
#: More than this, ffmpeg does not say of a file with a hundred tracks.
_HEADER_BYTES = 512 * 1024
#: Some seconds of PCM: the more fit, the less often ffmpeg and we wait for each other.
_PIPE_BYTES = 512 * 1024
#: No more ffmpegs read headers at once than there are cores. They do not wait for decodings.
_probes = threading.BoundedSemaphore(os.cpu_count() or 1)
STDERR_LINES = 200
STDERR_LINE_BYTES = 500

#: Elsewhere pictures are left in the container: reading on is all that they cost.
AUDIO_ALONE = ("-vn", "-sn", "-dn")
#: How ffmpeg ends when the file had no part in it: killed by `_PROBE_WITHIN_S` or by the kernel
#: for want of memory, or never started.
_NO_WORD_ON_THE_FILE = (-signal.SIGKILL, sandbox.NOT_STARTED)


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
    tried = [sys.executable, "-I", "-S", sandbox.__file__, sandbox.PROBE]
    return subprocess.run(tried, check=False).returncode == 0


def can_start() -> bool:
    """Tell whether ffmpeg can be started in its sandbox, with the libraries that it needs."""
    tried = _sandboxed([ffmpeg_path(), "-version"], _PROBE_CPU_S)
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def probe(path: Path) -> Probe:
    """Read a file's header.

    Raises:
        UnreadableMedia: if ffmpeg cannot make anything of the file.
        Misconfigured: if ffmpeg cannot be started.
        DecoderLost: if ffmpeg was ended before it had read the header.
    """
    with _probes:
        process = start(path, read_from(path, *AUDIO_ALONE), _PROBE_CPU_S)
        limit = threading.Timer(_PROBE_WITHIN_S, process.kill)
        limit.start()
        try:
            said = _header(process.stderr)
            if len(said) < _HEADER_BYTES and process.wait() in _NO_WORD_ON_THE_FILE:
                raise lost(process.wait(), said.decode(errors="replace"))
        finally:
            limit.cancel()
            process.end()
    found = read_header(said.decode(errors="replace"))
    tracks = [
        replace(track, is_decodable=track.codec in _decodable_codecs()) for track in found.tracks
    ]
    return replace(found, tracks=tracks)


def too_long() -> TooLong:
    """Return the error of media that lasts longer than CHRONOS_MAX_DURATION_S."""
    return TooLong(
        f"The media is longer than {conf().max_duration_s / 3600:g} h. Shorten it, or ask the "
        "operator to raise CHRONOS_MAX_DURATION_S."
    )


@cache
def _decodable_codecs() -> frozenset[str]:
    """Return the names of the audio codecs that this ffmpeg can decode."""
    listed = subprocess.run(
        _sandboxed([ffmpeg_path(), "-hide_banner", "-codecs"], _PROBE_CPU_S),
        capture_output=True,
        check=True,
        text=True,
    )
    return frozenset(re.findall(r"^ D.A.{3} (\w+)", listed.stdout, re.MULTILINE))


def pictures_end_ms(path: Path, cpu_s: int) -> int:
    """Return when the last picture of a file begins; 0 if it cannot be told.

    It reads all of the file: call it while the decoding that has ended still holds its semaphore.
    """
    program = [
        *read_from(path, "-an", "-sn", "-dn", "-v", "quiet"),
        *("-map", "0:v:0", "-c", "copy", "-f", "null", "-progress", "pipe:1", "-"),
    ]
    process = start(path, program, cpu_s)
    limit = threading.Timer(_READ_WITHIN_S, process.kill)
    limit.start()
    try:
        said = deque(process.stdout, maxlen=STDERR_LINES)
    finally:
        limit.cancel()
        process.end()
    found = re.findall(rb"^out_time_us=(\d{1,15})", b"".join(said), re.MULTILINE)
    return int(found[-1]) // 1000 if found else 0


def _header(stderr: IO[bytes]) -> bytearray:
    """Return what ffmpeg says of a file, but not what the file says of itself: that may be long.

    ffmpeg indents the file's own words by four spaces and more.
    """
    said = bytearray()
    is_begin = True
    while len(said) < _HEADER_BYTES and (line := stderr.readline(STDERR_LINE_BYTES)):
        if is_begin and (not line.startswith(b"    ") or b" Stream #" in line):
            said += line.rstrip(b"\n") + b"\n"
        is_begin = line.endswith(b"\n")
    return said


def lost(code: int, said: str) -> ChronosError:
    """Return the error of an ffmpeg that ended before it had anything to say of the file."""
    if code == sandbox.NOT_STARTED:
        return Misconfigured(f"ffmpeg cannot be started: {said.strip()[-STDERR_LINE_BYTES:]}.")
    return DecoderLost(
        "ffmpeg was ended before it had read the file's header: the disk did not answer, or the "
        "worker's machine has too little memory. If it goes on, see the worker's log."
    )


def encode_opus(samples: Samples) -> bytes:
    """Return 16 kHz mono samples as Ogg Opus of 24 kbit/s.

    Without the encoder's own search for savings, which doubles the time (docs/figures.md).
    """
    program = [
        *(ffmpeg_path(), "-nostdin", "-v", "error", "-f", "s16le"),
        *("-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"),
        *("-c:a", "libopus", "-b:a", "24k", "-compression_level", "0", "-f", "ogg", "pipe:1"),
    ]
    encoded = subprocess.run(
        _sandboxed(program, _ENCODE_CPU_S), input=samples.tobytes(), capture_output=True, check=True
    )
    return encoded.stdout


def start(path: Path, program: list[str], cpu_s: int, core: int | None = None) -> Launched:
    """Start ffmpeg on a file under limits, as the head of a process group, on one core if given."""
    limits = _limits(cpu_s, path)
    return launcher.start(sandbox.arguments(program, core=core, **limits), _PIPE_BYTES)


def _sandboxed(program: list[str], cpu_s: int) -> list[str]:
    """Return the command that runs ffmpeg under limits, without any file."""
    return sandbox.command(program, **_limits(cpu_s))


def _limits(cpu_s: int, *readable: Path) -> dict[str, Any]:
    """Return the limits of an ffmpeg that may write nothing but its pipes."""
    return {
        "cpu_s": cpu_s,
        "memory_bytes": _MEMORY_BYTES,
        "file_bytes": 0,
        "no_network": True,
        "readable": [str(path) for path in readable],
    }


def read_from(path: Path, *options: str) -> list[str]:
    """Return the beginning of a program: ffmpeg, and how it reads a file of no other formats."""
    return [
        *(ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-threads", "1", *options),
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS),
        *("-i", f"file:{path}"),
    ]
