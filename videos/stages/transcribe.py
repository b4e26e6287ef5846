"""The stage `transcribe`: file → audio parts → what was heard → segments.

Three kinds of threads meet here: one decodes and cuts, up to CHRONOS_PARTS_IN_FLIGHT call the
service, and the stage's own thread does all the writing.
"""

from __future__ import annotations

import queue
from collections import Counter
from contextlib import suppress
from pathlib import Path

from django.db.models.functions import Now

from videos import events, media, runs, scratch, sources, statuses, steps, transcription
from videos.claims import CHECK_S, Claim
from videos.conf import conf
from videos.exceptions import ENDINGS, TooLong
from videos.models import AudioPart, Revision, Run, Segment, Step, Transcript, Video
from videos.splitting import Limits, Part
from videos.stages import same_content
from videos.stages.listening import (
    AudioEnd,
    CutPart,
    Listening,
    cut_audio,
    cut_media,
    nothing_to_cut,
)
from videos.stages.recognising import Recognising
from videos.stitching import HeardSegment, coverage, stitch

_DEADLINE_S = 1800.0
_DEADLINE_PER_MEDIA_S = 2.0
_SEGMENTS_PER_STATEMENT = 1_000
_AUDIO_STEP = "audio"


def transcribe(claim: Claim) -> None:
    """Make the run's transcript complete, and pass the run on to `chunk`."""
    video, revision = claim.run.video, claim.run.revision
    assert video is not None and revision is not None
    with scratch.folder() as folder:
        _Transcribing(claim, video, revision, folder).perform()


class _Transcribing:
    def __init__(self, claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
        self._claim = claim
        self._video = video
        self._revision = revision
        self._folder = folder
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reuses = not (claim.run.data.get("force") or claim.run.data.get("again"))
        self._done_ms = 0
        self._end: AudioEnd | None = None

    def perform(self) -> None:
        with steps.step(self._claim, _AUDIO_STEP) as audio_step:
            self._transcript, source, complete = self._begin()
            if complete is not None:
                self._take_over(complete, audio_step)
                return
            recognising = self._call_while_listening(self._listen(source))
            if self._end is not None:
                self._keep_audio(audio_step)
        if recognising.failures:
            raise steps.StepFailed(recognising.failures)
        if recognising.held_back is not None:
            raise recognising.held_back
        self._store_segments()

    def _begin(self) -> tuple[Transcript, Path | None, Transcript | None]:
        """Return the run's transcript, the local source, and an equal transcript to copy.

        There is no need for the source where its audio was kept, nor where there is one to copy.
        """
        transcript = self._revision.transcript
        if transcript is not None and _is_outdated(transcript):
            transcript = None
        if transcript is not None:
            if transcript.cut_at is not None and transcript.audio:
                return transcript, None, None
            if complete := self._find_equal(transcript):
                return transcript, None, complete
        source, source_hash = sources.fetch(self._video, self._folder, self._claim)
        if transcript is not None and transcript.source_hash == source_hash:
            return transcript, source, None
        transcript = self._begin_transcript(source, source_hash)
        return transcript, source, self._find_equal(transcript)

    def _find_equal(self, transcript: Transcript) -> Transcript | None:
        if not self._reuses or transcript.parts.exists():
            return None
        return same_content.find(transcript, self._video)

    def _take_over(self, complete: Transcript, audio_step: Step) -> None:
        with self._claim.guard() as run:
            segment_count = same_content.copy(complete, self._transcript)
            steps.finish(run, audio_step, {"taken_from": str(complete.video_id)})
            statuses.measured(self._video.pk, duration_ms=complete.duration_ms)
            self._announce(run, segment_count, complete.duration_ms)
            runs.advance(run, "chunk")

    def _listen(self, source: Path | None) -> Listening:
        """Find where an earlier attempt ended, and go on from there."""
        transcript = self._transcript
        self._allow_time(transcript.duration_ms or conf().max_duration_s * 1000)
        if source is not None:
            limits = Limits.from_name(transcript.splitter)
            ends = list(transcript.parts.values_list("end_ms", flat=True))
            return cut_media(source, self._folder, limits, ends)
        undone = transcript.parts.filter(result__isnull=True)
        parts = [Part(row.start_ms, row.end_ms, row.speech) for row in undone]
        self._done_ms = transcript.duration_ms - sum(part.end_ms - part.start_ms for part in parts)
        end = AudioEnd(transcript.duration_ms, transcript.truncated)
        if not parts:
            return nothing_to_cut(self._folder, end)
        audio = sources.fetch_audio(transcript, self._folder, self._claim)
        return cut_audio(audio, self._folder, parts, end)

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
        with self._claim.guard() as run:
            same_content.take_turn(source_hash, run.creator_id)
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

    def _call_while_listening(self, listening: Listening) -> Recognising:
        recognising = Recognising(
            self._claim,
            self._transcript,
            self._video.language,
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
        finally:
            listening.stop()
            recognising.close()
        return recognising

    def _part_stored(self, part: Part) -> None:
        self._done_ms += part.end_ms - part.start_ms
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
        for entry in self._store_parts(cut) if cut else []:
            recognising.add(entry)

    def _store_parts(self, cut: list[CutPart]) -> list[CutPart]:
        """Commit the bounds of parts; return those that are not transcribed already."""
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
        to_send = []
        for entry in cut:
            if (entry.part.start_ms, entry.part.end_ms) in undone:
                to_send.append(entry)
            elif entry.path is not None:
                entry.path.unlink()
        return to_send

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
        except ENDINGS:
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
            self._announce(run, len(heard), self._end.duration_ms)
            same_content.tell(self._transcript, self._video)
            runs.advance(run, "chunk")

    def _announce(self, run: Run, segment_count: int, duration_ms: int) -> None:
        events.emit(
            "video/transcription.completed",
            video_id=self._video.pk,
            creator_id=run.creator_id,
            segment_count=segment_count,
            duration_s=duration_ms / 1000,
        )


def _is_outdated(transcript: Transcript) -> bool:
    """Whether the configured model has changed before the one that was asked gave an answer."""
    if transcript.model == conf().transcription_model:
        return False
    return not transcript.parts.exclude(speech=[]).filter(result__isnull=False).exists()


def _spoken_language(parts: list[AudioPart]) -> str:
    """Return the language that was heard for the longest time."""
    spoken: Counter[str] = Counter()
    for part in parts:
        if part.result and part.result["language"]:
            spoken[part.result["language"]] += part.end_ms - part.start_ms
    return spoken.most_common(1)[0][0] if spoken else ""
