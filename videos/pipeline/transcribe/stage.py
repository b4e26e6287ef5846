"""The stage `transcribe`: file → audio parts → what was recognized → segments.

Three kinds of threads meet here: one decodes and cuts, up to CHRONOS_PARTS_IN_FLIGHT call the
service, and the stage's own thread does all the writing.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import soundfile
from django.db.models.functions import Now

from videos.audio import confidence
from videos.audio.parts import Part
from videos.audio.stitching import stitch
from videos.durable import runs, steps
from videos.durable.claims import CHECK_S, Claim
from videos.exceptions import ChronosError, HandedOver, MissingFile, SameContent
from videos.local import workdirs
from videos.models import AudioPart, Step, Transcript, Video
from videos.pipeline import segments, statuses, storage
from videos.pipeline.transcribe import deduplication, listening
from videos.pipeline.transcribe.from_captions import take_captions
from videos.pipeline.transcribe.inputs import (
    FromDuplicate,
    FromFile,
    FromStoredAudio,
    InputResolver,
)
from videos.pipeline.transcribe.producer import AudioEnd, AudioProducer, CutPart
from videos.pipeline.transcribe.recognition import Recognition

logger = logging.getLogger(__name__)

_AUDIO_STEP = "audio"
_SILENT = {"language": "", "segments": []}


def transcribe(claim: Claim) -> None:
    """Make the run's transcript complete, and pass the run on."""
    video, revision = claim.run.video, claim.run.revision
    assert video is not None and revision is not None
    with workdirs.folder() as folder:
        if video.captions:
            take_captions(claim, video, revision, folder)
            return
        with steps.planned_step(claim, _AUDIO_STEP) as audio_step:
            found = InputResolver(claim, audio_step, video, revision, folder).resolve()
            if isinstance(found, FromDuplicate):
                _copy(found, claim, video, folder, audio_step)
                return
            transcription = _Transcription(claim, video, found, folder)
            recognition = transcription.recognize(audio_step)
        if recognition.failures:
            raise steps.StepFailed(recognition.failures)
        if recognition.paused_by is not None:
            raise recognition.paused_by
        transcription.store_segments()


def _copy(found: FromDuplicate, claim: Claim, video: Video, folder: Path, audio_step: Step) -> None:
    """Make the transcript a copy of a complete one of the same file."""
    try:
        with found.audio(video, folder, claim) as audio, claim.guard() as run:
            count = deduplication.copy(found.complete, found.transcript, audio)
            steps.finish(run, audio_step, {"taken_from": str(found.complete.video_id)})
            statuses.measured(video.pk, duration_ms=found.complete.duration_ms)
            segments.emit_completed(run, count, found.complete.duration_ms)
            runs.advance(claim, run)
    except (MissingFile, Transcript.DoesNotExist) as error:
        raise SameContent(
            "The duplicate whose transcript was being reused was just deleted; this file will be "
            "transcribed itself."
        ) from error


class _Progress:
    """How much of a transcript's audio is done, shown on its video."""

    def __init__(self, video: Video, stage: str, transcript: Transcript) -> None:
        self._video = video
        self._stage = stage
        self.duration_ms = transcript.duration_ms
        #: Milliseconds of the parts that are done, by their start: a storing that is tried again
        #: counts once.
        self._done: dict[int, int] = {}
        if transcript.cut_at is not None:
            for row in transcript.parts.recognized():
                self._done[row.start_ms] = row.end_ms - row.start_ms

    def add(self, *parts: Part) -> None:
        """Count parts as done, in the transaction that stores them."""
        self._done |= {part.start_ms: part.end_ms - part.start_ms for part in parts}
        if self.duration_ms:
            share = sum(self._done.values()) / self.duration_ms
            statuses.progressed(self._video.pk, self._stage, share)


class _Transcription:
    """Making one transcript: parts as they are cut, answers as they come."""

    def __init__(
        self, claim: Claim, video: Video, found: FromFile | FromStoredAudio, folder: Path
    ) -> None:
        self._claim = claim
        self._video = video
        self._found = found
        self._transcript = found.transcript
        self._folder = folder
        self._is_decoding = isinstance(found, FromFile)
        self._progress = _Progress(video, claim.stage, found.transcript)
        self._messages: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._end: AudioEnd | None = None
        #: All parts, once they are recognized.
        self._parts: list[AudioPart] = []

    def recognize(self, audio_step: Step) -> Recognition:
        """Have all parts recognized, as far as the service lets us, and store the audio."""
        producer = self._found.producer(self._folder)
        recognition = Recognition(
            self._claim,
            self._transcript,
            self._found.capability,
            wake=self._wake,
            stored=self._progress.add,
        )
        try:
            self._recognize_while_cutting(producer, recognition)
        except (ChronosError, HandedOver):
            # Whatever is wrong with the media, the disk or the worker: what is out is paid.
            recognition.finish_under_way(self._wait_for_answers)
            raise
        except soundfile.SoundFileError:
            self._distrust_stored_audio()
            raise
        finally:
            producer.stop()
            recognition.close()
        if self._end is not None:
            self._store_audio(audio_step, self._end)
        return recognition

    def _recognize_while_cutting(self, producer: AudioProducer, recognition: Recognition) -> None:
        producer.start(self._wake)
        while not recognition.has_failed and (self._end is None or recognition.is_waiting):
            recognition.send()
            self._wait()
            self._take_parts(producer, recognition)
            recognition.take_answers()
        recognition.finish_under_way(self._wait_for_answers)

    def _wake(self) -> None:
        self._messages.put(None)

    def _wait(self) -> None:
        self._await_message()
        self._claim.check()

    def _wait_for_answers(self) -> None:
        self._await_message()
        self._claim.check(in_flight=True)

    def _await_message(self) -> None:
        with suppress(queue.Empty):
            self._messages.get(timeout=CHECK_S)

    def _take_parts(self, producer: AudioProducer, recognition: Recognition) -> None:
        cut: list[CutPart] = []
        for message in producer.arrived():
            if isinstance(message, AudioEnd):
                self._end = message
                self._progress.duration_ms = message.duration_ms
            else:
                cut.append(message)
        if cut:
            self._store_parts(cut, recognition)

    def _store_parts(self, cut: list[CutPart], recognition: Recognition) -> None:
        """Commit the bounds of parts; have those recognized that are not already."""
        with self._claim.guard():
            # What an earlier attempt has committed stays: the same bounds are the same part.
            AudioPart.objects.bulk_create(
                [
                    AudioPart(
                        transcript=self._transcript,
                        start_ms=entry.part.start_ms,
                        end_ms=entry.part.end_ms,
                        speech=entry.part.speech,
                        result=None if entry.path else _SILENT,
                    )
                    for entry in cut
                ],
                ignore_conflicts=True,
            )
            undone = {
                (row.start_ms, row.end_ms): row.again
                for row in self._transcript.parts.unrecognized()
            }
            if known := [each.part for each in cut if _bounds(each) not in undone]:
                self._progress.add(*known)
        for entry in cut:
            if _bounds(entry) in undone:
                recognition.add(entry, is_second_pass=undone[_bounds(entry)])
            elif entry.path is not None:
                entry.path.unlink()

    def _store_audio(self, audio_step: Step, end: AudioEnd) -> None:
        """Store the whole audio, so that no later run decodes the video again."""
        if not self._is_decoding:
            self._finish_audio(audio_step, end, self._transcript.audio)
            return
        with storage.stored_audio(self._video, self._claim, self._decoded) as name:
            self._finish_audio(audio_step, end, name)

    @property
    def _decoded(self) -> Path:
        return self._folder / "audio.flac"

    def _finish_audio(self, audio_step: Step, end: AudioEnd, name: str) -> None:
        self._transcript.duration_ms = end.duration_ms
        with self._claim.guard() as run:
            Transcript.objects.filter(pk=self._transcript.pk).update(
                audio=name,
                duration_ms=end.duration_ms,
                truncated=end.truncated,
                cut_at=Now(),
            )
            statuses.measured(self._video.pk, duration_ms=end.duration_ms)
            steps.finish(run, audio_step)
            self._parts = list(self._transcript.parts.all())

    def _whole_audio(self) -> Path:
        if self._decoded.exists():
            return self._decoded
        self._transcript.refresh_from_db(fields=["audio"])
        return storage.fetch_audio(self._transcript, self._folder, self._claim)

    def _distrust_stored_audio(self) -> None:
        """Let the next attempt decode the video, if what cannot be read was stored of it."""
        if not self._is_decoding:
            with self._claim.guard():
                self._video.transcripts.filter(audio=self._transcript.audio).update(audio="")

    def store_segments(self) -> None:
        """Put what was recognized together, and pass the run on."""
        rows = self._parts
        self._review(rows)
        recognized = stitch((row.part, row.recognized) for row in rows)
        speech = _all_of(rows, lambda row: row.spoken)
        voiced = _all_of(rows, lambda row: row.voiced)
        doubted = confidence.doubted(_all_of(rows, lambda row: row.speech), recognized, voiced)
        coverage = confidence.coverage(speech, recognized)
        with self._claim.guard() as run:
            segments.store(
                run,
                self._transcript,
                doubted,
                language=self._video.language or _spoken_language(rows),
                coverage=coverage,
            )
            deduplication.notify(self._transcript, run.creator_id)
            runs.advance(self._claim, run)

    def _review(self, rows: list[AudioPart]) -> None:
        try:
            listening.review(self._claim, self._transcript, rows, self._whole_audio)
        except soundfile.SoundFileError as error:
            logger.warning(
                "The audio of %s cannot be read, so its words are not aligned: %s",
                self._video,
                error,
            )
            self._distrust_stored_audio()


def _bounds(entry: CutPart) -> tuple[int, int]:
    return entry.part.start_ms, entry.part.end_ms


def _all_of(
    rows: list[AudioPart], intervals: Callable[[AudioPart], list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    return [(start, end) for start, end in chain.from_iterable(map(intervals, rows))]


def _spoken_language(rows: list[AudioPart]) -> str:
    """Return the language that was recognized for the longest time."""
    spoken: Counter[str] = Counter()
    for row in rows:
        if row.result and row.result["language"]:
            spoken[row.result["language"]] += row.end_ms - row.start_ms
    return spoken.most_common(1)[0][0] if spoken else ""
