"""The calls of one transcript: audio parts that lie ready → what was recognized, stored.

All writing is done by the stage's own thread: a ledger row before a call, the result and the
ledger row after it, each in one transaction that checks the claim.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.db.models import QuerySet

from videos.ai import providers
from videos.ai.capabilities import Capability
from videos.ai.transcription import Recognized, Request
from videos.audio import confidence, word_times
from videos.audio.parts import Interval, Part
from videos.audio.stitching import CUT, RecognizedSegment, on_video_clock, spoken_intervals
from videos.conf import conf
from videos.durable import paid_calls, steps
from videos.durable.claims import Claim, start_call
from videos.durable.retries import waits
from videos.exceptions import ChronosError, ClaimLost, Overdue
from videos.models import AudioPart, Call, Run, Step, Transcript
from videos.pipeline.transcribe import listening
from videos.pipeline.transcribe.producer import CutPart

#: What a second of audio is taken for in the limit of tokens. The audio models are billed by
#: tokens; until an answer tells, a minute counts as 1,000.
_TOKENS_PER_S = 1000 / 60


@dataclass(frozen=True)
class _Upload:
    """Audio that lies ready to be sent."""

    part: Part
    path: Path
    #: Whether the text of a first call is too doubtful to be the last word.
    is_second_pass: bool

    @property
    def key(self) -> str:
        """The name of its step."""
        bounds = f"{self.part.start_ms}-{self.part.end_ms} ms"
        return f"{bounds} again" if self.is_second_pass else bounds

    @cached_property
    def seconds(self) -> float:
        """How much audio is uploaded."""
        return self.part.upload_ms / 1000


@dataclass(frozen=True)
class _Sent:
    """A call that is under way, and the time of `time.monotonic` by which it is to be answered."""

    call: Call
    step: Step
    upload: _Upload
    deadline: float


def forget_parts(run: Run) -> None:
    """Drop the steps of another transcript of the run: its parts may have the same bounds."""
    run.steps.filter(stage="transcribe", key__regex=r"^\d+-\d+ ms").delete()


class Recognition:
    """Sends parts as far as concurrency, limits and breaker allow, and stores the answers.

    A part of whose speech too little was recognized is sent a second time, with other settings;
    of the two answers, the better one stays.
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
        self._transcriber = providers.transcriber()
        self._ready: list[_Upload] = []
        self._under_way: dict[Future[Recognized], _Sent] = {}
        self._paused_until = 0.0
        #: Steps that failed, and why.
        self.failures: list[tuple[Step, Exception]] = []
        #: Why no call may leave now: the breaker or a limit.
        self.paused_by: ChronosError | None = None

    def add(self, cut: CutPart, *, is_second_pass: bool) -> None:
        """Take a part that is to be transcribed, for the first or the second time."""
        assert cut.path is not None, "a part without speech needs no call"
        self._ready.append(_Upload(cut.part, cut.path, is_second_pass))

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still to come, or a part may yet be sent."""
        return bool(self._under_way or (self._ready and self.paused_by is None))

    @property
    def has_failed(self) -> bool:
        """Whether a step has failed in a way that no other attempt can mend."""
        return any(getattr(error, "permanent", False) for _, error in self.failures)

    def send(self) -> None:
        """Book the next calls as sent, then send them.

        The longest first, so that those that go side by side at the end are short, and end together
        (Graham, Bounds on Multiprocessing Timing Anomalies, 1969).
        """
        room = conf().parts_in_flight - len(self._under_way)
        batch = heapq.nlargest(room, self._ready, key=attrgetter("seconds"))
        if not batch or time.monotonic() < self._paused_until:
            return
        planned = [steps.plan(self._claim, upload.key) for upload in batch]
        tokens = [math.ceil(upload.seconds * _TOKENS_PER_S) for upload in batch]
        try:
            booked = paid_calls.book(
                self._claim, planned, Call.Service.TRANSCRIPTION, self._transcript.model, tokens
            )
        except ChronosError as error:
            if not waits(error):
                (begun,) = steps.begin(self._claim, [planned[0].key]).values()
                raise steps.StepFailed([(begun, error)]) from error
            self._pause(error)
            return
        self.paused_by = None
        for call, step, upload in zip(booked, planned, batch, strict=False):
            self._ready.remove(upload)
            self._start(call, step, upload)

    def _pause(self, error: ChronosError) -> None:
        self.paused_by = error
        self._paused_until = time.monotonic() + error.retry_after_s

    def _start(self, call: Call, step: Step, upload: _Upload) -> None:
        within_s = conf().service_deadline_s
        future = start_call(
            self._transcriber.transcribe,
            upload.path,
            request=Request(
                self._capability, **self._transcript.asked, is_second_pass=upload.is_second_pass
            ),
            duration_s=upload.seconds,
            model=call.model,
            call_id=call.pk,
            within_s=within_s,
        )
        self._under_way[future] = _Sent(call, step, upload, time.monotonic() + within_s)
        future.add_done_callback(lambda _: self._wake())

    def take_answers(self) -> None:
        """Store what has come back; give up what is overdue, whatever its service sends."""
        for future, sent in list(self._under_way.items()):
            if not future.done() and time.monotonic() > sent.deadline:
                del self._under_way[future]
                self._record_failure(sent, paid_calls.fail(sent.call, Overdue(sent.call.service)))
        for future in [future for future in self._under_way if future.done()]:
            sent = self._under_way[future]
            error = future.exception()
            if error is None:
                self._store(sent, future.result())
            # An answer that could not be stored is left to `close`, which books it.
            del self._under_way[future]
            if isinstance(error, Exception):
                self._record_failure(sent, paid_calls.fail(sent.call, error))
            elif error is not None:
                raise error

    def _record_failure(self, sent: _Sent, error: Exception) -> None:
        """Record a failed call; a second pass that fails leaves the first one's answer."""
        if sent.upload.is_second_pass and not waits(error):
            with self._claim.guard():
                steps.give_up(sent.step, error)
                self._part_row(sent).update(again=False)
                self._stored(sent.upload.part)
        else:
            self.failures.append((sent.step, error))
            if isinstance(error, ChronosError) and waits(error):
                self._pause(error)
        sent.upload.path.unlink(missing_ok=True)

    def finish_under_way(self, wait: Callable[[], object]) -> None:
        """After a step has failed for good: let calls finish that will be paid anyway."""
        while self._under_way:
            wait()
            self.take_answers()

    def close(self) -> None:
        """End the stage's calls; what is still out may be paid, the ledger says unknown."""
        self._transcriber.close()
        for future, sent in self._under_way.items():
            error = future.exception() if future.done() else None
            if future.done() and error is None:
                paid_calls.answer(sent.call, used=False, **future.result().measured)
            else:
                unanswered = error if isinstance(error, Exception) else None
                paid_calls.fail(sent.call, unanswered or ClaimLost("The stage ended before it."))
        self._under_way.clear()

    def _store(self, sent: _Sent, answer: Recognized) -> None:
        """Store an answer, unless it is a second one that is no better than the first."""
        upload = sent.upload
        segments = _with_times(answer, upload.part)
        result: dict[str, Any] = {
            "language": answer.language,
            "segments": [segment.as_json() for segment in segments],
        }
        first = self._part_row(sent).get() if upload.is_second_pass else None
        # Both passes are measured by the same voices.
        voiced = first.result.get("voiced") if first and first.result else None
        trust = _confidence(upload.part, segments, voiced)
        if first is None and trust < confidence.MIN_COVERAGE:
            # Music and noise are no speech that was missed, nor is text for them any.
            voiced = listening.voice_in_file(upload.part, upload.path)
            trust = _confidence(upload.part, segments, voiced)
        if voiced is not None:
            result["voiced"] = voiced
        is_final = upload.is_second_pass or trust >= confidence.MIN_COVERAGE

        def store(settled: paid_calls.Settled) -> None:
            if first is not None:
                settled.used = trust > _confidence(upload.part, first.recognized, voiced)
            better = {"result": result} if settled.used else {}
            self._part_row(sent).update(again=not is_final, **better)
            steps.finish(settled.run, sent.step)
            if is_final:
                self._stored(upload.part)

        paid_calls.settle(self._claim, sent.call, store, **answer.measured)
        if is_final:
            upload.path.unlink(missing_ok=True)
        else:
            self._ready.append(replace(upload, is_second_pass=True))

    def _part_row(self, sent: _Sent) -> QuerySet[AudioPart]:
        part = sent.upload.part
        return self._transcript.parts.filter(start_ms=part.start_ms, end_ms=part.end_ms)


def _with_times(answer: Recognized, part: Part) -> list[RecognizedSegment]:
    """Give a text without times those of the speech in its part."""
    if answer.is_timed:
        return answer.segments
    speech = spoken_intervals(part)
    return [
        sentence
        for segment in answer.segments
        for sentence in word_times.sentences(word_times.spread(segment.text, speech), CUT)
    ]


def _confidence(
    part: Part, segments: Sequence[RecognizedSegment], voiced: Sequence[Interval] | None
) -> float:
    spoken = part.speech if voiced is None else confidence.common(part.speech, voiced)
    return confidence.score(spoken, on_video_clock(part, segments), voiced)
