"""A speech service of fixed speed, in a process of its own: prints its URL, and serves.

`python -m benchmarks.speech 20` takes a twentieth of a second for each second of audio.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from typing import Any

import soundfile

from tests.openai_server import Fault, OpenAIServer, Recorded


class SpeechService(OpenAIServer):
    """Takes the same time for the same audio, however many calls there are at once."""

    def __init__(self, speed: float) -> None:
        super().__init__(dimensions=32)
        self._speed = speed

    def answer(self, call: Recorded, headers: Any) -> tuple[int, Any, dict[str, str], Fault]:
        begun = time.monotonic()
        answered = super().answer(call, headers)
        if call.audio:
            seconds = soundfile.info(io.BytesIO(call.audio)).duration
            time.sleep(max(0.0, seconds / self._speed - (time.monotonic() - begun)))
            call.audio = b""
        return answered


if __name__ == "__main__":
    service = SpeechService(float(sys.argv[1]))
    service.start()
    print(service.url, flush=True)
    threading.Event().wait()
