"""From a video's file to audio parts on disk, while earlier parts are transcribed already."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from videos import media, sources
from videos.conf import conf
from videos.exceptions import TimedOut, TooLong, UnreadableMedia
from videos.splitting import SAMPLE_RATE, Limits, Part, Splitter, levels_db

_SAMPLES_PER_MS = SAMPLE_RATE // 1000
#: ffmpeg decodes audio at several hundred times real time (docs/figures.md).
_DECODE_CPU_PER_MEDIA_S = 0.2
_DECODE_CPU_S = 120
#: Less than this, decoded from a file that breaks off, is noise of something else.
_LEAST_OF_BROKEN_MS = 1_000


@dataclass(frozen=True)
class CutPart:
    """A part that lies on disk as FLAC, or has no speech and no file."""

    part: Part
    path: Path | None


@dataclass(frozen=True)
class AudioEnd:
    """The media has ended."""

    duration_ms: int
    truncated: bool


def cut_media(source: Path, folder: Path, limits: Limits, committed: Sequence[int]) -> Listening:
    """Decode a media file once; parts arrive as they are cut, the whole goes to audio.flac."""

    def produce(listening: Listening) -> AudioEnd:
        splitter = Splitter(limits, committed)
        writer = _PartWriter(folder)
        samples_seen = 0
        cpu_s = _DECODE_CPU_S + int(conf().max_duration_s * _DECODE_CPU_PER_MEDIA_S)
        with (
            media.decode(source, cpu_s) as decoding,
            soundfile.SoundFile(
                folder / "audio.flac", "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC"
            ) as whole,
        ):
            listening.interrupt_with(decoding.kill)
            for block in decoding.blocks():
                listening.check()
                samples_seen += len(block)
                _check_duration(samples_seen)
                whole.write(block)
                writer.add(block)
                for part in splitter.feed(levels_db(block)):
                    listening.put(CutPart(part, writer.write(part)))
            broken = decoding.is_broken()
            if decoding.was_killed():
                raise TimedOut("Decoding the file took too much CPU time or memory and was ended.")
        end_ms = samples_seen // _SAMPLES_PER_MS
        if not end_ms or (broken and end_ms < _LEAST_OF_BROKEN_MS):
            raise UnreadableMedia(
                "The audio track holds nothing that can be decoded. Export the video again."
            )
        for part in splitter.finish(end_ms):
            listening.put(CutPart(part, writer.write(part)))
        return AudioEnd(end_ms, broken)

    return Listening(folder, produce)


def cut_audio(audio: Path, folder: Path, parts: Sequence[Part], end: AudioEnd) -> Listening:
    """Cut parts whose bounds are known from audio that was kept."""

    def produce(listening: Listening) -> AudioEnd:
        with soundfile.SoundFile(audio) as whole:
            for part in parts:
                listening.check()
                whole.seek(part.start_ms * _SAMPLES_PER_MS)
                frames = (part.end_ms - part.start_ms) * _SAMPLES_PER_MS
                samples = whole.read(frames, dtype="int16")
                listening.put(CutPart(part, _write_flac(folder, part, samples)))
        return end

    return Listening(folder, produce)


def nothing_to_cut(folder: Path, end: AudioEnd) -> Listening:
    """Return the end alone, for media all of whose parts are transcribed."""
    return Listening(folder, lambda _: end)


class Listening:
    """A thread that produces parts. Iterate over `messages`, then look at what it ended with."""

    def __init__(self, folder: Path, produce: Callable[[Listening], AudioEnd]) -> None:
        self._folder = folder
        self._messages: queue.SimpleQueue[CutPart | AudioEnd | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[produce], daemon=True)
        self._wake: Callable[[], object] = lambda: None
        self._interrupt: Callable[[], object] = lambda: None

    def start(self, wake: Callable[[], object]) -> None:
        """Begin; `wake` is called from the thread whenever there is a message."""
        self._wake = wake
        self._thread.start()

    def arrived(self) -> Iterator[CutPart | AudioEnd]:
        """Yield the messages that are there now.

        Raises:
            Exception: whatever ended the production early.
        """
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, BaseException):
                raise message
            yield message

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._interrupt()
        if self._thread.ident is not None:
            self._thread.join()

    def interrupt_with(self, interrupt: Callable[[], object]) -> None:
        """Have `interrupt` called by `stop`, to end what the thread waits for."""
        self._interrupt = interrupt
        self.check()

    def check(self) -> None:
        """Leave the production if it was stopped."""
        if self._stopped.is_set():
            raise _Stopped

    def put(self, message: CutPart) -> None:
        """Hand a part to the stage."""
        self._messages.put(message)
        self._wake()

    def _run(self, produce: Callable[[Listening], AudioEnd]) -> None:
        try:
            self._messages.put(produce(self))
        except _Stopped:
            return
        except (soundfile.SoundFileError, AssertionError) as error:
            # libsndfile does not say why it could not write.
            low = sources.is_disk_low(self._folder)
            self._messages.put(sources.disk_full() if low else error)
        except BaseException as error:
            self._messages.put(error)
        self._wake()


class _Stopped(Exception):
    """Raised inside the producing thread once nobody wants its parts."""


class _PartWriter:
    """Holds the samples of the part that is being cut, and writes it when its end is known."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blocks: list[npt.NDArray[np.int16]] = []

    def add(self, block: npt.NDArray[np.int16]) -> None:
        self._blocks.append(block)

    def write(self, part: Part) -> Path | None:
        samples = np.concatenate(self._blocks)
        length = (part.end_ms - part.start_ms) * _SAMPLES_PER_MS
        self._blocks = [samples[length:]]
        return _write_flac(self._folder, part, samples[:length])


def _write_flac(folder: Path, part: Part, samples: npt.NDArray[np.int16]) -> Path | None:
    if not part.speech:
        return None
    path = folder / f"{part.start_ms}-{part.end_ms}.flac"
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    return path


def _check_duration(samples_seen: int) -> None:
    limit = conf().max_duration_s
    if samples_seen > limit * SAMPLE_RATE:
        raise TooLong(
            f"The media lasts longer than {limit / 3600:g} h. Cut it, or have the operator raise "
            "CHRONOS_MAX_DURATION_S."
        )
