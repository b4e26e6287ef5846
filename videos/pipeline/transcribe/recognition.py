"""The calls of one transcript: audio parts that lie ready → what the service heard, stored.

All writing is done by the stage's own thread: a ledger row before a call, the result and the
ledger row after it, each in one transaction that checks the claim.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from openai import OpenAI

from videos.ai import capabilities, openai_client, transcription
from videos.ai.capabilities import Capability
from videos.ai.transcription import Heard
from videos.audio import confidence, word_times
from videos.audio.splitting import Interval, Part
from videos.audio.stitching import CUT, HeardSegment, on_video_clock, spoken_intervals
from videos.conf import conf
from videos.durable import paid_calls, steps
from videos.durable.claims import Claim, start_call
from videos.exceptions import ChronosError, ClaimLost
from videos.models import AudioPart, Call, Run, Step, Transcript
from videos.pipeline.transcribe import review
from videos.pipeline.transcribe.producer import CutPart

#: What a second of audio is taken for in the budget of tokens. The audio models are billed by
#: tokens; until an answer tells, a minute counts as 1,000.
_TOKENS_PER_S = 1000 / 60


@dataclass(frozen=True)
class _Hearing:
    """An upload that lies ready; `again`: the first hearing of it is not to be trusted."""

    part: Part
    path: Path
    again: bool

    @property
    def key(self) -> str:
        """The name of its step."""
        bounds = f"{self.part.start_ms}-{self.part.end_ms} ms"
        return f"{bounds} again" if self.again else bounds

    @property
    def seconds(self) -> float:
        """How much audio is uploaded."""
        return self.part.upload_ms / 1000


@dataclass(frozen=True)
class _Sent:
    """A call that is under way, and the time of `time.monotonic` by which it is to be answered."""

    call: Call
    step: Step
    hearing: _Hearing
    deadline: float


def forget_parts(run: Run) -> None:
    """Drop the steps of another transcript of the run: its parts may have the same bounds."""
    run.steps.filter(stage="transcribe", key__regex=r"^\d+-\d+ ms").delete()


class Recognising:
    """Sends parts as far as concurrency, budget and breaker allow, and stores the answers.

    A part of whose speech too little was understood is sent once more, with other settings; of
    the two, the better answer stays.
    """

    def __init__(
        self,
        claim: Claim,
        transcript: Transcript,
        capability: Capability,
        *,
        wake: Callable[[], object],
        stored: Callable[[Part], object],
    ) -> None:
        self._claim = claim
        self._transcript = transcript
        self._capability = capability
        self._wake = wake
        #: Called inside the transaction that stores a part's result, which may be tried again.
        self._stored = stored
        self._api: OpenAI = transcription.client()
        self._ready: deque[_Hearing] = deque()
        self._under_way: dict[Future[Heard], _Sent] = {}
        self._held_until = 0.0
        #: Steps that failed, and why.
        self.failures: list[tuple[Step, Exception]] = []
        #: Why no call may leave now: the breaker or the budget.
        self.held_back: ChronosError | None = None

    def add(self, cut: CutPart, *, again: bool) -> None:
        """Take a part that is to be transcribed, or heard once more."""
        assert cut.path is not None, "a part without speech needs no call"
        self._ready.append(_Hearing(cut.part, cut.path, again))

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
        rows = steps.begin(self._claim, [hearing.key for hearing in batch])
        ordered = [rows[hearing.key] for hearing in batch]
        tokens = [math.ceil(hearing.seconds * _TOKENS_PER_S) for hearing in batch]
        try:
            booked = paid_calls.book(
                self._claim, ordered, Call.Service.TRANSCRIPTION, self._transcript.model, tokens
            )
        except ChronosError as error:
            if not error.waits_for:
                raise steps.StepFailed([(ordered[0], error)]) from error
            steps.put_back(ordered)
            self._hold_back(error)
            return
        self.held_back = None
        if len(booked) < len(ordered):
            steps.put_back(ordered[len(booked) :])
        for call, step in zip(booked, ordered, strict=False):
            self._start(call, step, self._ready.popleft())

    def _hold_back(self, error: ChronosError) -> None:
        self.held_back = error
        self._held_until = time.monotonic() + error.retry_after_s

    def _start(self, call: Call, step: Step, hearing: _Hearing) -> None:
        future = start_call(
            transcription.transcribe,
            self._api,
            hearing.path,
            model=call.model,
            parameters=capabilities.asked(
                self._capability, **self._transcript.asked, again=hearing.again
            ),
            duration_s=hearing.seconds,
            call_id=call.pk,
            within_s=conf().service_deadline_s,
        )
        deadline = time.monotonic() + conf().service_deadline_s
        self._under_way[future] = _Sent(call, step, hearing, deadline)
        future.add_done_callback(lambda _: self._wake())

    def take_answers(self) -> None:
        """Store what has come back; give up what is overdue, whatever its service sends."""
        for future, sent in list(self._under_way.items()):
            if not future.done() and time.monotonic() > sent.deadline:
                del self._under_way[future]
                self._note_failure(
                    sent, paid_calls.fail(sent.call, openai_client.overdue(sent.call.service))
                )
        for future in [future for future in self._under_way if future.done()]:
            sent = self._under_way[future]
            error = future.exception()
            if error is None:
                self._store(sent, future.result())
            # An answer that could not be stored is left to `close`, which books it.
            del self._under_way[future]
            if isinstance(error, Exception):
                self._note_failure(sent, paid_calls.fail(sent.call, error))
            elif error is not None:
                raise error

    def _note_failure(self, sent: _Sent, error: Exception) -> None:
        """Note a failed call; a second hearing that fails leaves the first one's answer."""
        if sent.hearing.again and not getattr(error, "waits_for", ""):
            with self._claim.guard():
                steps.give_up(sent.step, error)
                self._part_row(sent).update(again=False)
                self._stored(sent.hearing.part)
        else:
            self.failures.append((sent.step, error))
            if isinstance(error, ChronosError) and error.waits_for:
                self._hold_back(error)
        sent.hearing.path.unlink(missing_ok=True)

    def finish_under_way(self, wait: Callable[[], object]) -> None:
        """After a step has failed for good: let calls finish that will be paid anyway."""
        while self._under_way:
            wait()
            self.take_answers()

    def close(self) -> None:
        """End the stage's calls; what is still out may be paid, the ledger says unknown."""
        self._api.close()
        for future, sent in self._under_way.items():
            error = future.exception() if future.done() else None
            if future.done() and error is None:
                paid_calls.answer(sent.call, used=False, **future.result().measured)
            else:
                unanswered = error if isinstance(error, Exception) else None
                paid_calls.fail(sent.call, unanswered or ClaimLost("The stage ended before it."))
        self._under_way.clear()

    def _store(self, sent: _Sent, heard: Heard) -> None:
        hearing = sent.hearing
        segments = _with_times(heard, hearing.part)
        result: dict[str, Any] = {
            "language": heard.language,
            "segments": [segment.as_json() for segment in segments],
        }
        first = self._part_row(sent).get() if hearing.again else None
        # Of two hearings, both are measured by the same.
        voiced = first.result.get("voiced") if first and first.result else None
        trust = _trust(hearing.part, segments, voiced)
        if first is None and trust < confidence.LEAST_COVERAGE:
            # Music and noise are no speech that was missed, nor is text for them any.
            voiced = review.voice_in_file(hearing.part, hearing.path)
            trust = _trust(hearing.part, segments, voiced)
        if voiced is not None:
            result["voiced"] = voiced
        is_final = hearing.again or trust >= confidence.LEAST_COVERAGE

        def store(settled: paid_calls.Settled) -> None:
            if first is not None:
                before = _trust(hearing.part, first.heard, voiced)
                settled.used = trust > before
            if settled.used:
                self._part_row(sent).update(result=result)
            self._part_row(sent).update(again=not is_final)
            steps.finish(settled.run, sent.step)
            if is_final:
                self._stored(hearing.part)

        paid_calls.settle(self._claim, sent.call, store, **heard.measured)
        if is_final:
            hearing.path.unlink(missing_ok=True)
        else:
            self._ready.append(replace(hearing, again=True))

    def _part_row(self, sent: _Sent) -> QuerySet[AudioPart]:
        part = sent.hearing.part
        return self._transcript.parts.filter(start_ms=part.start_ms, end_ms=part.end_ms)


def _with_times(heard: Heard, part: Part) -> list[HeardSegment]:
    """Give a text without times those of the speech in its part."""
    if heard.is_timed:
        return heard.segments
    speech = spoken_intervals(part)
    return [
        sentence
        for segment in heard.segments
        for sentence in word_times.sentences(word_times.spread(segment.text, speech), CUT)
    ]


def _trust(
    part: Part, segments: Sequence[HeardSegment], voiced: Sequence[Interval] | None
) -> float:
    spoken = part.speech if voiced is None else confidence.common(part.speech, voiced)
    return confidence.trust(spoken, on_video_clock(part, segments), voiced)
