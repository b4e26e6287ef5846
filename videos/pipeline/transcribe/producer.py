"""A thread that produces audio parts while the stage has earlier ones transcribed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from videos.audio.parts import Part
from videos.pipeline import storage


@dataclass(frozen=True)
class CutPart:
    """A part whose upload lies on disk, or which has no speech and no file."""

    part: Part
    path: Path | None


@dataclass(frozen=True)
class AudioEnd:
    """The media has ended."""

    duration_ms: int
    truncated: bool


class AudioProducer:
    """The thread. Start it, take what has `arrived`, and stop it."""

    def __init__(self, folder: Path, produce: Callable[[AudioProducer], AudioEnd]) -> None:
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

    def _run(self, produce: Callable[[AudioProducer], AudioEnd]) -> None:
        try:
            self._messages.put(produce(self))
        except _Stopped:
            return
        except (soundfile.SoundFileError, AssertionError, OSError) as error:
            # libsndfile does not say why it could not write.
            low = storage.is_disk_low(self._folder)
            self._messages.put(storage.disk_full() if low else error)
        except BaseException as error:
            self._messages.put(error)
        self._wake()


class _Stopped(Exception):
    """Raised inside the producing thread once nobody wants its parts."""
