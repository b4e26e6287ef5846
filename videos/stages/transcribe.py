"""The stage `transcribe`: file → audio parts → what was heard → segments.

Three kinds of threads meet here: one decodes and cuts, up to CHRONOS_PARTS_IN_FLIGHT call the
service, and the stage's own thread does all the writing: a part and its ledger row before a
call, the result and the ledger row after it, each in one transaction that checks the claim.
"""

from __future__ import annotations

import queue
import tempfile
from collections import Counter, deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db.models.functions import Now
from openai import OpenAI

from videos import events, ledger, media, runs, sources, statuses, steps, transcription
from videos.claims import CHECK_S, Claim, start_call
from videos.conf import conf
from videos.exceptions import ClaimLost, TooLong
from videos.models import (
    AudioPart,
    Call,
    Revision,
    Run,
    Segment,
    Step,
    Transcript,
    Video,
)
from videos.splitting import Limits, Part
from videos.stages.listening import (
    AudioEnd,
    CutPart,
    Listening,
    cut_audio,
    cut_media,
    nothing_to_cut,
)
from videos.stitching import HeardSegment, coverage, stitch
from videos.transcription import Heard

_DEADLINE_S = 1800.0
_DEADLINE_PER_MEDIA_S = 2.0
_SEGMENTS_PER_STATEMENT = 1_000
_AUDIO_STEP = "audio"


@dataclass(frozen=True)
class _Sent:
    """A call that is under way."""

    call_id: UUID
    step: Step
    part: Part
    path: Path


def transcribe(claim: Claim) -> None:
    """Make the run's transcript complete, and pass the run on to `chunk`."""
    video, revision = claim.run.video, claim.run.revision
    assert video is not None and revision is not None
    with tempfile.TemporaryDirectory(prefix="chronos-") as folder:
        _Transcribing(claim, video, revision, Path(folder)).perform()


class _Transcribing:
    def __init__(self, claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
        self._claim = claim
        self._video = video
        self._revision = revision
        self._folder = folder
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ready: deque[CutPart] = deque()
        self._under_way: dict[Future[Heard], _Sent] = {}
        self._failures: list[tuple[Step, Exception]] = []
        self._done_ms = 0
        self._end: AudioEnd | None = None

    def perform(self) -> None:
        with steps.step(self._claim, _AUDIO_STEP) as audio_step:
            self._transcript, listening = self._open()
            self._call_while_listening(listening)
            if self._end is not None:
                self._keep_audio(audio_step)
        if self._failures:
            raise steps.StepFailed(self._failures)
        self._store_segments()

    def _open(self) -> tuple[Transcript, Listening]:
        """Find where an earlier attempt ended, and go on from there."""
        transcript = self._revision.transcript
        if transcript is not None and _is_outdated(transcript):
            transcript = None
        if transcript is not None and transcript.cut_at is not None and transcript.audio:
            self._allow_time(transcript.duration_ms)
            undone = transcript.parts.filter(result__isnull=True)
            parts = [Part(row.start_ms, row.end_ms, row.speech) for row in undone]
            self._done_ms = transcript.duration_ms - sum(p.end_ms - p.start_ms for p in parts)
            end = AudioEnd(transcript.duration_ms, transcript.truncated)
            if not parts:
                return transcript, nothing_to_cut(self._folder, end)
            audio = sources.fetch_audio(transcript, self._folder, self._claim)
            return transcript, cut_audio(audio, self._folder, parts, end)
        source, source_hash = sources.fetch(self._video, self._folder, self._claim)
        if transcript is None or transcript.source_hash != source_hash:
            transcript = self._begin_transcript(source, source_hash)
        self._allow_time(transcript.duration_ms or conf().max_duration_s * 1000)
        limits = Limits.from_name(transcript.splitter)
        ends = list(transcript.parts.values_list("end_ms", flat=True))
        return transcript, cut_media(source, self._folder, limits, ends)

    def _begin_transcript(self, source: Path, source_hash: str) -> Transcript:
        found = media.probe(source)
        limit = conf().max_duration_s
        if found.duration_ms and found.duration_ms > limit * 1000:
            raise TooLong(
                f"The media lasts {found.duration_ms / 3_600_000:.1f} h, the limit is "
                f"{limit / 3600:g} h. Cut it, or have the operator raise CHRONOS_MAX_DURATION_S."
            )
        model = conf().transcription_model
        limits = Limits.for_duration(
            found.duration_ms,
            conf().parts_in_flight,
            transcription.capability(model).longest_ms,
        )
        with self._claim.guard():
            transcript = Transcript.objects.create(
                video=self._video,
                source_hash=source_hash,
                splitter=limits.name,
                model=model,
                duration_ms=found.duration_ms or 0,
            )
            Revision.objects.filter(pk=self._revision.pk).update(transcript=transcript)
            if found.duration_ms:
                statuses.measured(self._video.pk, duration_ms=found.duration_ms)
        return transcript

    def _allow_time(self, duration_ms: int) -> None:
        self._claim.extend_deadline(_DEADLINE_S + _DEADLINE_PER_MEDIA_S * duration_ms / 1000)

    def _call_while_listening(self, listening: Listening) -> None:
        api = transcription.client()
        try:
            listening.start(lambda: self._wake.put(None))
            while self._is_working():
                self._send(api)
                self._wait()
                self._take_parts(listening)
                self._take_answers()
            self._finish_under_way()
        finally:
            listening.stop()
            self._abandon_under_way()
            api.close()

    def _is_working(self) -> bool:
        if any(getattr(error, "permanent", False) for _, error in self._failures):
            return False
        return self._end is None or bool(self._ready or self._under_way)

    def _wait(self) -> None:
        with suppress(queue.Empty):
            self._wake.get(timeout=CHECK_S)
        self._claim.check()

    def _take_parts(self, listening: Listening) -> None:
        cut: list[CutPart] = []
        for message in listening.arrived():
            if isinstance(message, AudioEnd):
                self._end = message
            else:
                cut.append(message)
        if cut:
            self._store_parts(cut)

    def _store_parts(self, cut: list[CutPart]) -> None:
        """Commit the bounds of parts; those that are transcribed already need no call."""
        silent = {"language": "", "segments": []}
        with self._claim.guard():
            AudioPart.objects.bulk_create(
                [
                    AudioPart(
                        transcript=self._transcript,
                        start_ms=entry.part.start_ms,
                        end_ms=entry.part.end_ms,
                        speech=entry.part.speech,
                        result=None if entry.path else silent,
                    )
                    for entry in cut
                ],
                ignore_conflicts=True,
            )
            undone = set(
                self._transcript.parts.filter(result__isnull=True).values_list("start_ms", "end_ms")
            )
            self._done_ms += sum(
                part.end_ms - part.start_ms
                for part in (entry.part for entry in cut)
                if (part.start_ms, part.end_ms) not in undone
            )
            self._show_progress()
        for entry in cut:
            if (entry.part.start_ms, entry.part.end_ms) in undone:
                self._ready.append(entry)
            elif entry.path is not None:
                entry.path.unlink()

    def _send(self, api: OpenAI) -> None:
        """Book the next calls as sent, then send them."""
        batch: list[CutPart] = []
        while self._ready and len(self._under_way) + len(batch) < conf().parts_in_flight:
            batch.append(self._ready.popleft())
        if not batch:
            return
        rows = steps.begin(self._claim, [_key(entry.part) for entry in batch])
        ordered = [rows[_key(entry.part)] for entry in batch]
        with self._claim.guard() as run:
            calls = ledger.send_calls(
                run, ordered, Call.Service.TRANSCRIPTION, self._transcript.model
            )
        for entry, step, call in zip(batch, ordered, calls, strict=True):
            assert entry.path is not None
            future = start_call(
                transcription.transcribe,
                api,
                entry.path,
                model=self._transcript.model,
                language=self._video.language,
                duration_s=(entry.part.end_ms - entry.part.start_ms) / 1000,
            )
            self._under_way[future] = _Sent(call.pk, step, entry.part, entry.path)
            future.add_done_callback(lambda _: self._wake.put(None))

    def _take_answers(self) -> None:
        for future in [future for future in self._under_way if future.done()]:
            sent = self._under_way.pop(future)
            error = future.exception()
            if error is None:
                self._store_answer(sent, future.result())
            else:
                ledger.fail_call(sent.call_id, error)
                if not isinstance(error, Exception):
                    raise error
                self._failures.append((sent.step, error))
            sent.path.unlink(missing_ok=True)

    def _store_answer(self, sent: _Sent, heard: Heard) -> None:
        result = {
            "language": heard.language,
            "segments": [segment.as_json() for segment in heard.segments],
        }
        try:
            with self._claim.guard() as run:
                self._transcript.parts.filter(
                    start_ms=sent.part.start_ms, end_ms=sent.part.end_ms
                ).update(result=result)
                steps.finish(run, sent.step)
                self._book(sent, heard, used=True)
                self._done_ms += sent.part.end_ms - sent.part.start_ms
                self._show_progress()
        except ClaimLost:
            # The answer was paid, whether or not it could be kept.
            self._book(sent, heard, used=False)
            raise

    def _book(self, sent: _Sent, heard: Heard, *, used: bool) -> None:
        ledger.answer_call(
            sent.call_id,
            used=used,
            model=self._transcript.model,
            audio_seconds=heard.audio_seconds,
            tokens=heard.tokens,
        )

    def _finish_under_way(self) -> None:
        """After a step has failed for good: let calls finish that will be paid anyway."""
        while self._under_way:
            self._wait()
            self._take_answers()

    def _abandon_under_way(self) -> None:
        """When the stage ends early: what is still out may be paid, the ledger says unknown."""
        for future, sent in self._under_way.items():
            error = future.exception() if future.done() else None
            if future.done() and error is None:
                self._book(sent, future.result(), used=False)
            else:
                ledger.fail_call(sent.call_id, error or ClaimLost("The stage ended before it."))
        self._under_way.clear()

    def _show_progress(self) -> None:
        duration_ms = self._end.duration_ms if self._end else self._transcript.duration_ms
        if duration_ms:
            statuses.progressed(self._video.pk, self._claim.stage, self._done_ms / duration_ms)

    def _keep_audio(self, audio_step: Step) -> None:
        """Keep the whole audio, so that no later run decodes the video again."""
        assert self._end is not None
        name = self._transcript.audio or sources.keep_audio(
            self._video, self._claim, self._folder / "audio.flac"
        )
        try:
            self._note_end(audio_step, name)
        except ClaimLost:
            if name != self._transcript.audio:
                self._video.file.storage.delete(name)
            raise

    def _note_end(self, audio_step: Step, name: str) -> None:
        assert self._end is not None
        with self._claim.guard() as run:
            Transcript.objects.filter(pk=self._transcript.pk).update(
                audio=name,
                duration_ms=self._end.duration_ms,
                truncated=self._end.truncated,
                cut_at=Now(),
            )
            statuses.measured(self._video.pk, duration_ms=self._end.duration_ms)
            steps.finish(run, audio_step)

    def _store_segments(self) -> None:
        assert self._end is not None
        parts = list(self._transcript.parts.all())
        heard = stitch(
            (
                part.start_ms,
                part.end_ms,
                [HeardSegment(**segment) for segment in part.result["segments"]],
            )
            for part in parts
            if part.result is not None
        )
        speech = [(start, end) for part in parts for start, end in part.speech]
        with self._claim.guard() as run:
            Segment.objects.filter(transcript=self._transcript).delete()
            Segment.objects.bulk_create(
                [
                    Segment(
                        transcript=self._transcript,
                        index=index,
                        start=segment.start,
                        end=segment.end,
                        text=segment.text,
                        speaker=segment.speaker,
                        suspicious=segment.suspicious,
                    )
                    for index, segment in enumerate(heard)
                ],
                batch_size=_SEGMENTS_PER_STATEMENT,
            )
            Transcript.objects.filter(pk=self._transcript.pk).update(
                language=self._video.language or _spoken_language(parts),
                coverage=coverage(speech, heard),
                completed_at=Now(),
            )
            self._announce(run, len(heard))
            runs.advance(run, "chunk")

    def _announce(self, run: Run, segment_count: int) -> None:
        assert self._end is not None
        events.emit(
            "video/transcription.completed",
            video_id=self._video.pk,
            creator_id=run.creator_id,
            segment_count=segment_count,
            duration_s=self._end.duration_ms / 1000,
        )


def _is_outdated(transcript: Transcript) -> bool:
    """Whether the configured model has changed before the one that was asked gave an answer."""
    if transcript.model == conf().transcription_model:
        return False
    return not transcript.parts.exclude(speech=[]).filter(result__isnull=False).exists()


def _key(part: Part) -> str:
    return f"{part.start_ms}-{part.end_ms} ms"


def _spoken_language(parts: list[AudioPart]) -> str:
    """Return the language that was heard for the longest time."""
    spoken: Counter[str] = Counter()
    for part in parts:
        if part.result and part.result["language"]:
            spoken[part.result["language"]] += part.end_ms - part.start_ms
    return spoken.most_common(1)[0][0] if spoken else ""
