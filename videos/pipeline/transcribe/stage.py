"""The stage `transcribe`: file → audio parts → what was heard → segments.

Three kinds of threads meet here: one decodes and cuts, up to CHRONOS_PARTS_IN_FLIGHT call the
service, and the stage's own thread does all the writing.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import chain
from pathlib import Path

import soundfile
from django.db.models import Q
from django.db.models.functions import Now

from videos.audio import confidence
from videos.audio.splitting import Limits, Part
from videos.audio.stitching import stitch
from videos.conf import conf
from videos.durable import runs, steps
from videos.durable.claims import CHECK_S, Claim
from videos.exceptions import ChronosError, MissingFile, SameContent
from videos.local import workdirs
from videos.models import AudioPart, Revision, Step, Transcript, Video
from videos.pipeline import segments, statuses, storage
from videos.pipeline.transcribe import deduplication, review
from videos.pipeline.transcribe.cutting import cut_again, cut_kept, cut_media, nothing_to_cut
from videos.pipeline.transcribe.from_captions import take_captions
from videos.pipeline.transcribe.inputs import Gathering, Material
from videos.pipeline.transcribe.producer import AudioEnd, CutPart, Listening
from videos.pipeline.transcribe.recognition import Recognising

logger = logging.getLogger(__name__)

_DEADLINE_S = 1800.0
_DEADLINE_PER_MEDIA_S = 2.0
_AUDIO_STEP = "audio"
_SILENT = {"language": "", "segments": []}


def transcribe(claim: Claim) -> None:
    """Make the run's transcript complete, and pass the run on to `chunk`."""
    video, revision = claim.run.video, claim.run.revision
    assert video is not None and revision is not None
    with workdirs.folder() as folder:
        if video.captions:
            take_captions(claim, video, revision, folder)
        else:
            _Transcribing(claim, video, revision, folder).perform()


class _Transcribing:
    def __init__(self, claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
        self._claim = claim
        self._video = video
        self._revision = revision
        self._folder = folder
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._done_ms = 0
        #: Milliseconds of the parts stored since, by their start.
        self._stored_ms: dict[int, int] = {}
        self._end: AudioEnd | None = None
        self._is_decoding = False

    def perform(self) -> None:
        with steps.step(self._claim, _AUDIO_STEP) as audio_step:
            material = Gathering(self._claim, self._video, self._revision, self._folder).gather()
            self._transcript = material.transcript
            self._is_decoding = material.source is not None
            if material.equal is not None:
                self._take_over(material.equal, audio_step)
                return
            recognising = self._call_while_listening(material)
            if self._end is not None:
                self._keep_audio(audio_step)
        if recognising.failures:
            raise steps.StepFailed(recognising.failures)
        if recognising.held_back is not None:
            raise recognising.held_back
        self._store_segments()

    def _take_over(self, complete: Transcript, audio_step: Step) -> None:
        try:
            with self._audio_of(complete) as audio:
                self._copy(complete, audio, audio_step)
        except (MissingFile, Transcript.DoesNotExist) as error:
            raise SameContent(
                "The same file, whose transcript was to be used here, was deleted just now: "
                "this one will be transcribed itself."
            ) from error

    def _audio_of(self, complete: Transcript) -> AbstractContextManager[str]:
        """Keep the audio of an equal file for this video too, as long as there is any."""
        if not storage.has_audio(self._video, complete):
            return nullcontext("")
        audio = storage.fetch_audio(complete, self._folder, self._claim)
        return storage.kept_audio(self._video, self._claim, audio)

    def _copy(self, complete: Transcript, audio: str, audio_step: Step) -> None:
        with self._claim.guard() as run:
            segment_count = deduplication.copy(complete, self._transcript, audio)
            steps.finish(run, audio_step, {"taken_from": str(complete.video_id)})
            statuses.measured(self._video.pk, duration_ms=complete.duration_ms)
            segments.announce(run, segment_count, complete.duration_ms)
            runs.advance(run, "chunk")

    def _listen(self, material: Material) -> Listening:
        """Find where an earlier attempt ended, and go on from there."""
        transcript = self._transcript
        media_s = transcript.duration_ms / 1000 or conf().max_duration_s
        self._claim.extend_deadline(_DEADLINE_S + _DEADLINE_PER_MEDIA_S * media_s)
        if material.source is None and transcript.cut_at is not None:
            return self._listen_again()
        limits = Limits.from_name(transcript.splitter)
        ends = list(transcript.parts.values_list("end_ms", flat=True))
        if material.source is None:
            audio = storage.fetch_audio(transcript, self._folder, self._claim)
            return cut_kept(audio, self._folder, limits, ends, truncated=transcript.truncated)
        return cut_media(material.source, self._folder, limits, ends)

    def _listen_again(self) -> Listening:
        """Cut only what is not transcribed yet."""
        transcript = self._transcript
        undone = transcript.parts.filter(Q(result__isnull=True) | Q(again=True))
        parts = [Part(row.start_ms, row.end_ms, row.speech) for row in undone]
        self._done_ms = transcript.duration_ms - sum(part.end_ms - part.start_ms for part in parts)
        end = AudioEnd(transcript.duration_ms, transcript.truncated)
        if not parts:
            return nothing_to_cut(self._folder, end)
        audio = storage.fetch_audio(transcript, self._folder, self._claim)
        return cut_again(audio, self._folder, parts, end)

    def _call_while_listening(self, material: Material) -> Recognising:
        listening = self._listen(material)
        recognising = Recognising(
            self._claim,
            self._transcript,
            material.capability,
            wake=lambda: self._wake.put(None),
            stored=self._part_stored,
        )
        try:
            listening.start(lambda: self._wake.put(None))
            while not recognising.has_failed and (self._end is None or recognising.is_waiting):
                recognising.send()
                self._wait()
                self._take_parts(listening, recognising)
                recognising.take_answers()
            recognising.finish_under_way(self._wait)
        except ChronosError:
            # Whatever is wrong with the media or the disk, calls that are out are paid.
            recognising.finish_under_way(self._wait)
            raise
        except soundfile.SoundFileError:
            self._distrust_kept_audio()
            raise
        finally:
            listening.stop()
            recognising.close()
        return recognising

    def _distrust_kept_audio(self) -> None:
        """Let the next attempt decode the video, if what cannot be read was kept of it."""
        if not self._is_decoding:
            with self._claim.guard():
                self._video.transcripts.filter(audio=self._transcript.audio).update(audio="")

    def _part_stored(self, part: Part) -> None:
        self._stored_ms[part.start_ms] = part.end_ms - part.start_ms
        self._show_progress()

    def _wait(self) -> None:
        with suppress(queue.Empty):
            self._wake.get(timeout=CHECK_S)
        self._claim.check()

    def _take_parts(self, listening: Listening, recognising: Recognising) -> None:
        cut: list[CutPart] = []
        for message in listening.arrived():
            if isinstance(message, AudioEnd):
                self._end = message
            else:
                cut.append(message)
        if cut:
            self._store_parts(cut, recognising)

    def _store_parts(self, cut: list[CutPart], recognising: Recognising) -> None:
        """Commit the bounds of parts; have those recognised that are not transcribed already."""
        with self._claim.guard():
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
            rows = self._transcript.parts.filter(Q(result__isnull=True) | Q(again=True))
            undone = {
                (start_ms, end_ms): again
                for start_ms, end_ms, again in rows.values_list("start_ms", "end_ms", "again")
            }
            self._done_ms += sum(
                entry.part.end_ms - entry.part.start_ms
                for entry in cut
                if _bounds(entry) not in undone
            )
            self._show_progress()
        for entry in cut:
            if _bounds(entry) in undone:
                recognising.add(entry, again=undone[_bounds(entry)])
            elif entry.path is not None:
                entry.path.unlink()

    def _show_progress(self) -> None:
        duration_ms = self._end.duration_ms if self._end else self._transcript.duration_ms
        if duration_ms:
            done_ms = self._done_ms + sum(self._stored_ms.values())
            statuses.progressed(self._video.pk, self._claim.stage, done_ms / duration_ms)

    def _keep_audio(self, audio_step: Step) -> None:
        """Keep the whole audio, so that no later run decodes the video again."""
        assert self._end is not None
        if not self._is_decoding:
            self._note_end(audio_step, self._transcript.audio)
            return
        whole = self._folder / "audio.flac"
        with storage.kept_audio(self._video, self._claim, whole) as name:
            self._note_end(audio_step, name)

    def _note_end(self, audio_step: Step, name: str) -> None:
        assert self._end is not None
        self._transcript.duration_ms = self._end.duration_ms
        with self._claim.guard() as run:
            Transcript.objects.filter(pk=self._transcript.pk).update(
                audio=name,
                duration_ms=self._end.duration_ms,
                truncated=self._end.truncated,
                cut_at=Now(),
            )
            statuses.measured(self._video.pk, duration_ms=self._end.duration_ms)
            steps.finish(run, audio_step)

    def _whole_audio(self) -> Path:
        decoded = self._folder / "audio.flac"
        if decoded.exists():
            return decoded
        self._transcript.refresh_from_db(fields=["audio"])
        return storage.fetch_audio(self._transcript, self._folder, self._claim)

    def _store_segments(self) -> None:
        try:
            review.review(self._claim, self._transcript, self._whole_audio)
        except soundfile.SoundFileError as error:
            logger.warning(
                "%s is not listened to: its audio cannot be read: %s", self._video, error
            )
            self._distrust_kept_audio()
        rows = list(self._transcript.parts.all())
        heard = stitch((row.part, row.heard) for row in rows)
        speech = [(start, end) for row in rows for start, end in row.spoken]
        voiced = [(start, end) for row in rows for start, end in row.voiced]
        doubted = confidence.doubted([*chain(*(row.speech for row in rows))], heard, voiced)
        coverage = confidence.coverage(speech, heard)
        with self._claim.guard() as run:
            segments.store(
                run,
                self._transcript,
                doubted,
                language=self._video.language or _spoken_language(rows),
                coverage=coverage,
            )
            deduplication.tell(self._transcript, run.creator_id)
            runs.advance(run, "chunk")


def _bounds(entry: CutPart) -> tuple[int, int]:
    return entry.part.start_ms, entry.part.end_ms


def _spoken_language(rows: list[AudioPart]) -> str:
    """Return the language that was heard for the longest time."""
    spoken: Counter[str] = Counter()
    for row in rows:
        if row.result and row.result["language"]:
            spoken[row.result["language"]] += row.end_ms - row.start_ms
    return spoken.most_common(1)[0][0] if spoken else ""
