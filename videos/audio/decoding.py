"""Decoding: a file's audio tracks as 16 kHz mono PCM, each sample where its time says."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path

import numpy as np

from videos.audio import ffmpeg
from videos.audio.ffmpeg_output import Frame, Track, is_damaged, read_frame
from videos.audio.mixing import Samples, mono
from videos.audio.parts import SAMPLE_RATE
from videos.conf import conf
from videos.local import sandbox
from videos.local.cores import own_core
from videos.local.launcher import Launched

#: PCM samples handed on at a time: 5 seconds; and by ffmpeg's filters a fifth of one: the fewer
#: hand-overs between its threads and to us, the less time it takes (docs/figures.md), and so many
#: are lost where the format changes.
BLOCK_SAMPLES = SAMPLE_RATE * 5
_FRAMES = f"asetnsamples={SAMPLE_RATE // 5}:p=0,ashowinfo"
#: Two channels of 16 bits.
_BYTES_PER_SAMPLE = 4
_PICTURES_TO_NOWHERE = ("-map", "0:v", "-c", "copy", "-f", "null", "-")


class _Silence(Enum):
    """What ffmpeg says where it does not say of a frame."""

    NOT_YET = auto()
    END = auto()


class Decoding:
    """A running ffmpeg that delivers 16 kHz mono PCM on the video's own clock.

    It says of each frame when it begins, so that a gap is filled wherever it comes from: audio
    that starts late, or a format that changes in the middle.
    """

    def __init__(self, process: Launched, *, has_clock: bool) -> None:
        self._process = process
        self._has_clock = has_clock
        self._messages: deque[str] = deque(maxlen=ffmpeg.STDERR_LINES)
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
                raise ffmpeg.too_long()
            for silent in range(at, begin, BLOCK_SAMPLES):
                yield np.zeros(min(begin - silent, BLOCK_SAMPLES), np.int16)
            at = max(at, begin)
            later = samples[at - begin :]
            at += len(later)
            yield later

    def _stretches(self) -> Iterator[tuple[int | None, Samples]]:
        """Yield when a stretch without a gap begins, and its samples: those that are there now."""
        frame = self._frames.get()
        while isinstance(frame, Frame):
            start, length = frame.start, frame.samples
            following = self._next_frame()
            while isinstance(following, Frame) and following.start in (None, (start or 0) + length):
                length += following.samples
                following = self._next_frame()
            data = self._process.stdout.read(length * _BYTES_PER_SAMPLE)
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
        code = self._process.wait()
        self._listener.join()
        if code == sandbox.NOT_STARTED:
            raise ffmpeg.lost(sandbox.NOT_STARTED, "".join(self._messages))
        return code != 0 or is_damaged(self._messages)

    def was_killed(self) -> bool:
        """Tell, after the last block, whether a signal ended ffmpeg, as its limits do."""
        return self._process.wait() < 0

    def kill(self) -> None:
        """End ffmpeg now, and whatever it may have started."""
        self._process.kill()

    def _listen(self) -> None:
        is_begin = True
        while line := self._process.stderr.readline(ffmpeg.STDERR_LINE_BYTES):
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
        *ffmpeg.read_from(path, *(() if needs_pictures else ffmpeg.AUDIO_ALONE), "-v", "info"),
        *("-filter_complex", f"{_mixed(tracks)},{_FRAMES}[out]", "-map", "[out]"),
        *("-f", "s16le", "pipe:1", *(_PICTURES_TO_NOWHERE if needs_pictures else ())),
    ]
    with own_core(check) as core:
        process = ffmpeg.start(path, program, cpu_s, core)
        decoding = Decoding(process, has_clock=all(track.has_clock for track in tracks))
        try:
            yield decoding
        finally:
            process.kill()
            decoding._listener.join()
            process.end()


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
