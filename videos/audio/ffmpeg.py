"""ffmpeg: what is in a media file, and its audio as PCM. Untrusted files end here.

ffmpeg runs in a child process, started through `local.sandbox`: limited in CPU time, memory and
file size, and where the kernel knows how, without network, sockets, our environment, and any
file but the one.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np

from videos.audio.ffmpeg_output import Frame, Probe, Track, is_damaged, read_frame, read_header
from videos.audio.mixing import Samples, mono
from videos.audio.splitting import SAMPLE_RATE
from videos.conf import conf
from videos.exceptions import (
    ChronosError,
    DecoderLost,
    Misconfigured,
    TooLong,
)
from videos.local import sandbox
from videos.local.semaphores import acquired

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
#: PCM samples handed on at a time: 5 seconds; and by ffmpeg's filters: the fewer hand-overs
#: between its threads, the less time it takes (docs/figures.md), and so many are lost where the
#: format changes.
BLOCK_SAMPLES = SAMPLE_RATE * 5
_FRAMES = f"asetnsamples={SAMPLE_RATE // 10}:p=0,ashowinfo"
#: Some seconds of PCM: the more fit, the less often ffmpeg and we wait for each other.
_PIPE_BYTES = 512 * 1024
#: Two channels of 16 bits.
_BYTES_PER_SAMPLE = 4
#: No more ffmpegs decode at once than there are cores: more would only take longer each.
_decoders = threading.BoundedSemaphore(os.cpu_count() or 1)
#: Nor read more of them headers, which must not wait for whole decodings, and is soon done.
_probes = threading.BoundedSemaphore(os.cpu_count() or 1)
_STDERR_LINES = 200
_STDERR_LINE_BYTES = 500

#: Elsewhere pictures are left in the container: reading on is all that they cost.
_AUDIO_ALONE = ("-vn", "-sn", "-dn")
_PICTURES_TO_NOWHERE = ("-map", "0:v", "-c", "copy", "-f", "null", "-")
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
        process = _start(path, _input(path, *_AUDIO_ALONE), _PROBE_CPU_S)
        limit = threading.Timer(_PROBE_WITHIN_S, _kill, [process])
        limit.start()
        try:
            assert process.stderr is not None
            said = _header(process.stderr)
            if len(said) < _HEADER_BYTES and process.wait() in _NO_WORD_ON_THE_FILE:
                raise _lost(process.returncode, said.decode(errors="replace"))
        finally:
            limit.cancel()
            _end(process)
    found = read_header(said.decode(errors="replace"))
    tracks = [
        replace(track, is_decodable=track.codec in _decodable_codecs()) for track in found.tracks
    ]
    return replace(found, tracks=tracks)


def too_long() -> TooLong:
    """Return the error of media that lasts longer than CHRONOS_MAX_DURATION_S."""
    return TooLong(
        f"The media lasts longer than {conf().max_duration_s / 3600:g} h. Cut it, or have the "
        "operator raise CHRONOS_MAX_DURATION_S."
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
        *_input(path, "-an", "-sn", "-dn", "-v", "quiet"),
        *("-map", "0:v:0", "-c", "copy", "-f", "null", "-progress", "pipe:1", "-"),
    ]
    process = _start(path, program, cpu_s)
    limit = threading.Timer(_READ_WITHIN_S, _kill, [process])
    limit.start()
    try:
        assert process.stdout is not None
        said = deque(process.stdout, maxlen=_STDERR_LINES)
    finally:
        limit.cancel()
        _end(process)
    found = re.findall(rb"^out_time_us=(\d{1,15})", b"".join(said), re.MULTILINE)
    return int(found[-1]) // 1000 if found else 0


def _header(stderr: IO[bytes]) -> bytearray:
    """Return what ffmpeg says of a file, but not what the file says of itself: that may be long.

    ffmpeg indents the file's own words by four spaces and more.
    """
    said = bytearray()
    is_begin = True
    while len(said) < _HEADER_BYTES and (line := stderr.readline(_STDERR_LINE_BYTES)):
        if is_begin and (not line.startswith(b"    ") or b" Stream #" in line):
            said += line.rstrip(b"\n") + b"\n"
        is_begin = line.endswith(b"\n")
    return said


def _lost(code: int, said: str) -> ChronosError:
    if code == sandbox.NOT_STARTED:
        return Misconfigured(f"ffmpeg cannot be started: {said.strip()[-_STDERR_LINE_BYTES:]}.")
    return DecoderLost(
        "ffmpeg was ended before it had read the file's header: the disk did not answer, or the "
        "worker's machine has too little memory. If it goes on, see the worker's log."
    )


class _Silence(Enum):
    """What ffmpeg says where it does not say of a frame."""

    NOT_YET = auto()
    END = auto()


class Decoding:
    """A running ffmpeg that delivers 16 kHz mono PCM on the video's own clock.

    It says of each frame when it begins, so that a gap is filled wherever it comes from: audio
    that starts late, or a format that changes in the middle.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, has_clock: bool) -> None:
        self._process = process
        self._has_clock = has_clock
        self._messages: deque[str] = deque(maxlen=_STDERR_LINES)
        self._frames: queue.SimpleQueue[Frame | _Silence] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def blocks(self) -> Iterator[Samples]:
        """Yield the samples, 5 seconds at a time, until the file ends or breaks off."""
        block: list[Samples] = []
        length = 0
        for samples in self._on_the_clock():
            block.append(samples)
            length += len(samples)
            if length >= BLOCK_SAMPLES:
                whole = np.concatenate(block)
                rest = length % BLOCK_SAMPLES
                for begin in range(0, length - rest, BLOCK_SAMPLES):
                    yield whole[begin : begin + BLOCK_SAMPLES]
                block, length = [whole[length - rest :]], rest
        if length:
            yield np.concatenate(block)

    def _on_the_clock(self) -> Iterator[Samples]:
        """Yield the samples and the silences between them; what overlaps is dropped."""
        at = 0
        for start, samples in self._stretches():
            begin = at if start is None else start
            if begin > conf().max_duration_s * SAMPLE_RATE:
                raise too_long()
            for silent in range(at, begin, BLOCK_SAMPLES):
                yield np.zeros(min(begin - silent, BLOCK_SAMPLES), np.int16)
            at = max(at, begin)
            later = samples[at - begin :]
            at += len(later)
            yield later

    def _stretches(self) -> Iterator[tuple[int | None, Samples]]:
        """Yield when a stretch without a gap begins, and its samples: those that are there now."""
        stdout = self._process.stdout
        assert stdout is not None
        frame = self._frames.get()
        while isinstance(frame, Frame):
            start, length = frame.start, frame.samples
            following = self._next_frame()
            while isinstance(following, Frame) and following.start in (None, (start or 0) + length):
                length += following.samples
                following = self._next_frame()
            data = stdout.read(length * _BYTES_PER_SAMPLE)
            yield start, mono(np.frombuffer(data[: len(data) // 4 * 4], dtype="<i2"))
            # ffmpeg waits until its pipe is read: what it says next is waited for after that.
            frame = self._frames.get() if following is _Silence.NOT_YET else following

    def _next_frame(self) -> Frame | _Silence:
        try:
            return self._frames.get_nowait()
        except queue.Empty:
            return _Silence.NOT_YET

    def is_broken(self) -> bool:
        """Tell, after the last block, whether ffmpeg complained of missing or damaged data.

        Raises:
            Misconfigured: if ffmpeg could not be started.
        """
        self._process.wait()
        self._listener.join()
        if self._process.returncode == sandbox.NOT_STARTED:
            raise _lost(sandbox.NOT_STARTED, "".join(self._messages))
        return self._process.returncode != 0 or is_damaged(self._messages)

    def was_killed(self) -> bool:
        """Tell, after the last block, whether a signal ended ffmpeg, as its limits do."""
        return self._process.wait() < 0

    def kill(self) -> None:
        """End ffmpeg now, and whatever it may have started."""
        _kill(self._process)

    def _listen(self) -> None:
        stderr: IO[bytes] | None = self._process.stderr
        assert stderr is not None
        is_begin = True
        while line := stderr.readline(_STDERR_LINE_BYTES):
            was_begin, is_begin = is_begin, line.endswith(b"\n")
            said = line.decode(errors="replace")
            if not was_begin:
                continue  # The rest of a long line holds what the file says of itself.
            if frame := read_frame(said):
                self._frames.put(frame if self._has_clock else replace(frame, start=None))
            else:
                self._messages.append(said)
        self._frames.put(_Silence.END)


@contextmanager
def decode(
    path: Path, cpu_s: int, *tracks: Track, check: Callable[[], object] = lambda: None
) -> Iterator[Decoding]:
    """Decode an audio track, or the sum of several; ffmpeg is gone when the block ends.

    Audio that starts late or has gaps is filled with silence, so that a sample's position is its
    time.

    Args:
        path: a local file.
        cpu_s: seconds of CPU time after which the kernel ends ffmpeg.
        tracks: of those that `probe` found.
        check: called while all cores decode for others; what it raises ends the waiting.
    """
    needs_pictures = any(track.needs_pictures for track in tracks)
    program = [
        *_input(path, *(() if needs_pictures else _AUDIO_ALONE), "-v", "info"),
        *("-filter_complex", f"{_mixed(tracks)},{_FRAMES}[out]", "-map", "[out]"),
        *("-f", "s16le", "pipe:1", *(_PICTURES_TO_NOWHERE if needs_pictures else ())),
    ]
    with acquired(_decoders, check):
        process = _start(path, program, cpu_s)
        decoding = Decoding(process, has_clock=all(track.has_clock for track in tracks))
        try:
            yield decoding
        finally:
            _kill(process)
            decoding._listener.join()
            _end(process)


def _mixed(tracks: Sequence[Track]) -> str:
    """Return the filters that make one stream of 16 kHz stereo of the tracks."""
    stereo = "aformat=sample_fmts=s16:channel_layouts=stereo"
    if len(tracks) == 1:
        filled = ":async=1" if tracks[0].has_clock else ""
        return f"[0:{tracks[0].index}]aresample={SAMPLE_RATE}{filled},{stereo}"
    # Silence at their beginnings keeps them in step.
    each = [
        f"[0:{track.index}]aresample={SAMPLE_RATE}:async=1:first_pts=0,{stereo}[track{number}]"
        for number, track in enumerate(tracks)
    ]
    labels = "".join(f"[track{number}]" for number in range(len(tracks)))
    return f"{';'.join(each)};{labels}amix=inputs={len(tracks)}:normalize=0,{stereo}"


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


def _start(path: Path, program: list[str], cpu_s: int) -> subprocess.Popen[bytes]:
    """Start ffmpeg on a file under limits, as the head of a process group."""
    return subprocess.Popen(
        _sandboxed(program, cpu_s, path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pipesize=_PIPE_BYTES,
    )


def _sandboxed(program: list[str], cpu_s: int, *readable: Path) -> list[str]:
    """Return the command that runs ffmpeg under limits; it may write nothing but its pipes."""
    return sandbox.command(
        program,
        cpu_s=cpu_s,
        memory_bytes=_MEMORY_BYTES,
        file_bytes=0,
        no_network=True,
        readable=[str(path) for path in readable],
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process group whose head has not been waited for: its id is still its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _input(path: Path, *options: str) -> list[str]:
    return [
        *(ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-threads", "1", *options),
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS),
        *("-i", f"file:{path}"),
    ]
