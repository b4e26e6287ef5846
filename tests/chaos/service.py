"""The AI service of a lane: deterministic answers, and faults where a scenario asks for them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

from tests.openai_server import SEGMENT_S, Fault, OpenAIServer, Recorded

#: So many words in a segment that each is a chunk, and a lecture needs two batches of them.
_WORDS = 600
#: About 25 words.
_BOOK_CHARACTERS = 185
#: Longer than the clients of the chaos settings wait.
_HANG_S = 4.0
_TOGETHER_WITHIN_S = 30.0


class Service(OpenAIServer):
    """Hears long sentences; fails a share of the calls, but no input more than twice."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self.hear = hear_lecture
        self.fault_share = 0.0
        self._random = random.Random(1)
        self._failed: Counter[tuple[Any, ...]] = Counter()
        self._guard = threading.Lock()
        #: What was injected, by the ledger's id of the call.
        self.injected: dict[str, str] = {}
        #: Where so many answers to embeddings wait for each other, if anywhere.
        self.together: threading.Barrier | None = None

    def answer(self, call: Recorded, headers: Any) -> tuple[int, Any, dict[str, str], Fault]:
        """Answer; embeddings all at one moment, if they are to."""
        answered = super().answer(call, headers)
        if self.together is not None and not call.audio:
            with suppress(threading.BrokenBarrierError):
                self.together.wait(_TOGETHER_WITHIN_S)
        return answered

    def take_fault(self, call: Recorded) -> Fault | None:
        """Return a fault for about `fault_share` of the calls."""
        subject = (call.path, call.audio, tuple(call.inputs))
        with self._guard:
            if self._random.random() >= self.fault_share or self._failed[subject] >= 2:
                return None
            self._failed[subject] += 1
            kind = self._random.choice(["429", "500", "hang", "cut off"])
            self.injected[call.id] = kind
        if kind == "429":
            return Fault(status=429, headers={"Retry-After": "1"})
        if kind == "500":
            return Fault(status=500)
        if kind == "hang":
            return Fault(status=200, delay_s=_HANG_S)
        return Fault(status=200, cut_off=True)


def hear_lecture(seconds: float) -> list[tuple[float, float, str]]:
    """Hear many words every four seconds, different ones at each length and time."""
    count = max(1, int(seconds // SEGMENT_S))
    return [
        (n * SEGMENT_S, min((n + 1) * SEGMENT_S, seconds), _sentences(round(seconds * 10), n))
        for n in range(count)
    ]


def hear_a_book(seconds: float) -> list[tuple[float, float, str]]:
    """Hear 600 short sentences: a batch of them has over 800 texts to embed."""
    share = seconds / 600
    return [
        (n * share, (n + 1) * share, _sentences(n, n)[:_BOOK_CHARACTERS].rsplit(" ", 1)[0] + ".")
        for n in range(600)
    ]


def _sentences(length: int, number: int) -> str:
    words = [f"word{(length * 7 + number * 31 + position) % 997}" for position in range(_WORDS)]
    return ". ".join(" ".join(words[at : at + 20]) for at in range(0, _WORDS, 20)) + "."
