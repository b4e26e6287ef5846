"""The calls of one transcript: audio parts that lie ready → what the service heard, stored.

All writing is done by the stage's own thread: a ledger row before a call, the result and the
ledger row after it, each in one transaction that checks the claim.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from openai import OpenAI

from videos import calls, steps, transcription
from videos.claims import Claim, start_call
from videos.conf import conf
from videos.exceptions import ChronosError, ClaimLost, RunCancelled
from videos.models import Call, Run, Step, Transcript
from videos.splitting import Part
from videos.stages.listening import CutPart
from videos.transcription import Heard

#: What a second of audio is taken for in the budget of tokens. The audio models are billed by
#: tokens; until an answer tells, a minute counts as 1,000.
_TOKENS_PER_S = 1000 / 60


@dataclass(frozen=True)
class _Sent:
    """A call that is under way."""

    call: Call
    step: Step
    part: Part
    path: Path


class Recognising:
    """Sends parts as far as concurrency, budget and breaker allow, and stores the answers."""

    def __init__(
        self,
        claim: Claim,
        transcript: Transcript,
        language: str,
        *,
        wake: Callable[[], object],
        stored: Callable[[Part], object],
    ) -> None:
        self._claim = claim
        self._transcript = transcript
        self._language = language
        self._wake = wake
        #: Called inside the transaction that stores a part's result.
        self._stored = stored
        self._api: OpenAI = transcription.client()
        self._ready: deque[CutPart] = deque()
        self._under_way: dict[Future[Heard], _Sent] = {}
        self._held_until = 0.0
        #: Steps that failed, and why.
        self.failures: list[tuple[Step, Exception]] = []
        #: Why no call may leave now: the breaker or the budget.
        self.held_back: ChronosError | None = None

    def add(self, part: CutPart) -> None:
        """Take a part that is to be transcribed."""
        self._ready.append(part)

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still to come, or a part may yet be sent."""
        return bool(self._under_way or (self._ready and self.held_back is None))

    @property
    def has_failed(self) -> bool:
        """Whether a step has failed in a way that no other attempt can mend."""
        return any(getattr(error, "permanent", False) for _, error in self.failures)

    def send(self) -> None:
        """Book the next calls as sent, then send them."""
        room = conf().parts_in_flight - len(self._under_way)
        batch = [self._ready[position] for position in range(min(room, len(self._ready)))]
        if not batch or time.monotonic() < self._held_until:
            return
        rows = steps.begin(self._claim, [_key(entry.part) for entry in batch])
        ordered = [rows[_key(entry.part)] for entry in batch]
        tokens = [math.ceil(_seconds(entry.part) * _TOKENS_PER_S) for entry in batch]
        try:
            booked = calls.book(
                self._claim, ordered, Call.Service.TRANSCRIPTION, self._transcript.model, tokens
            )
        except ChronosError as error:
            if not error.waits_for:
                raise steps.StepFailed([(ordered[0], error)]) from error
            steps.put_back(ordered)
            self.held_back = error
            self._held_until = time.monotonic() + error.retry_after_s
            return
        self.held_back = None
        if len(booked) < len(ordered):
            steps.put_back(ordered[len(booked) :])
        for call, step in zip(booked, ordered, strict=False):
            self._start(call, step, self._ready.popleft())

    def _start(self, call: Call, step: Step, entry: CutPart) -> None:
        assert entry.path is not None
        future = start_call(
            transcription.transcribe,
            self._api,
            entry.path,
            model=call.model,
            language=self._language,
            duration_s=_seconds(entry.part),
            call_id=call.pk,
        )
        self._under_way[future] = _Sent(call, step, entry.part, entry.path)
        future.add_done_callback(lambda _: self._wake())

    def take_answers(self) -> None:
        """Store what has come back."""
        for future in [future for future in self._under_way if future.done()]:
            sent = self._under_way.pop(future)
            error = future.exception()
            if error is None:
                self._store(sent, future.result())
            elif isinstance(error, Exception):
                self.failures.append((sent.step, calls.fail(sent.call, error)))
            else:
                raise error
            sent.path.unlink(missing_ok=True)

    def finish_under_way(self, wait: Callable[[], object]) -> None:
        """After a step has failed for good: let calls finish that will be paid anyway."""
        while self._under_way:
            wait()
            self.take_answers()

    def close(self) -> None:
        """End the stage's calls; what is still out may be paid, the ledger says unknown."""
        for future, sent in self._under_way.items():
            error = future.exception() if future.done() else None
            if future.done() and error is None:
                self._book(sent, future.result(), used=False)
            else:
                unanswered = error if isinstance(error, Exception) else None
                calls.fail(sent.call, unanswered or ClaimLost("The stage ended before it."))
        self._under_way.clear()
        self._api.close()

    def _store(self, sent: _Sent, heard: Heard) -> None:
        result = {
            "language": heard.language,
            "segments": [segment.as_json() for segment in heard.segments],
        }
        try:
            with self._claim.guard() as run:
                self._transcript.parts.filter(
                    start_ms=sent.part.start_ms, end_ms=sent.part.end_ms
                ).update(result=result)
                self._finish(run, sent, heard)
        except (ClaimLost, RunCancelled):
            # The answer was paid, whether or not it could be kept.
            self._book(sent, heard, used=False)
            raise

    def _finish(self, run: Run, sent: _Sent, heard: Heard) -> None:
        steps.finish(run, sent.step)
        self._book(sent, heard, used=True)
        self._stored(sent.part)

    def _book(self, sent: _Sent, heard: Heard, *, used: bool) -> None:
        calls.answer(sent.call, used=used, audio_seconds=heard.audio_seconds, tokens=heard.tokens)


def _key(part: Part) -> str:
    return f"{part.start_ms}-{part.end_ms} ms"


def _seconds(part: Part) -> float:
    return (part.end_ms - part.start_ms) / 1000
