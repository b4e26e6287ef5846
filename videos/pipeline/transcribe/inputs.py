"""What a transcript is made of: the video's file, its stored audio, or a duplicate of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videos.ai.capabilities import Capability
from videos.audio.splitting import Limits
from videos.conf import conf
from videos.durable import steps
from videos.durable.claims import Claim
from videos.models import Glossary, Revision, Run, Step, Transcript, Video
from videos.pipeline import segments, statuses, storage
from videos.pipeline.transcribe import cutting, deduplication, model_probe, recognition, thumbnail
from videos.pipeline.transcribe.media_file import MediaFile
from videos.pipeline.transcribe.producer import AudioEnd, AudioProducer

_DEADLINE_S = 1800.0
_DEADLINE_PER_MEDIA_S = 2.0


@dataclass(frozen=True)
class FromFile:
    """A transcript that is made of the video's file: it is decoded, and cut as it comes."""

    transcript: Transcript
    capability: Capability
    file: MediaFile
    #: Whether no earlier attempt can have cut anything of it.
    is_new: bool = False

    def producer(self, folder: Path) -> AudioProducer:
        """Return what decodes the file, from where an earlier attempt ended."""
        limits = Limits.from_name(self.transcript.splitter)
        ends = [] if self.is_new else _ends(self.transcript)
        return cutting.cut_media(self.file, folder, limits, ends)


@dataclass(frozen=True)
class FromStoredAudio:
    """A transcript that is made of audio that was stored when the video was decoded."""

    transcript: Transcript
    capability: Capability
    claim: Claim

    def producer(self, folder: Path) -> AudioProducer:
        """Return what cuts the audio: anew, or only what is not transcribed yet."""
        transcript = self.transcript
        if transcript.cut_at is None:
            limits, ends = Limits.from_name(transcript.splitter), _ends(transcript)
            audio = storage.fetch_audio(transcript, folder, self.claim)
            return cutting.cut_stored(audio, folder, limits, ends, truncated=transcript.truncated)
        parts = [row.part for row in transcript.parts.unrecognized()]
        end = AudioEnd(transcript.duration_ms, transcript.truncated)
        if not parts:
            return cutting.nothing_to_cut(folder, end)
        audio = storage.fetch_audio(transcript, folder, self.claim)
        return cutting.cut_again(audio, folder, parts, end)


@dataclass(frozen=True)
class FromDuplicate:
    """A transcript that is a copy of a complete one, of the same bytes and the same creator."""

    transcript: Transcript
    complete: Transcript

    def audio(self, video: Video, folder: Path, claim: Claim) -> AbstractContextManager[str]:
        """Store the complete one's audio for this video too, as long as there is any."""
        if not storage.has_audio(video, self.complete):
            return nullcontext("")
        return storage.stored_audio(video, claim, storage.fetch_audio(self.complete, folder, claim))


Input = FromFile | FromStoredAudio | FromDuplicate


class InputResolver:
    """Finds what the transcript of a run is to be made of."""

    def __init__(
        self, claim: Claim, step: Step, video: Video, revision: Revision, folder: Path
    ) -> None:
        self._claim = claim
        self._step = step
        self._video = video
        self._revision = revision
        self._folder = folder
        asked = claim.run.data
        self._reuses_transcripts = not (asked.get("force") or asked.get("again"))
        self._reuses_audio = not asked.get("force")

    def resolve(self) -> Input:
        """Go on with the run's transcript, or begin one; the step has begun by then.

        Raises:
            FileFault: if there is nothing that can be transcribed.
            SameContent: if another run is just transcribing the same file.
        """
        transcript = self._revision.transcript
        if transcript is not None and not self._is_outdated(transcript):
            with self._claim.guard() as run:
                steps.begin_planned(run, [self._step])
            found = self._go_on(transcript)
            self._extend_deadline(transcript)
            return found
        stored = self._stored_transcript()
        if stored is not None:
            return self._begin_with_audio_of(stored)
        return self._begin_with_file(*storage.fetch(self._video, self._folder, self._claim))

    def _go_on(self, transcript: Transcript) -> Input:
        capability = model_probe.known_capability(transcript.model) or Capability.from_json(
            transcript.capability
        )
        if storage.has_audio(self._video, transcript):
            return FromStoredAudio(transcript, capability, self._claim)
        if complete := self._complete_duplicate(transcript):
            return FromDuplicate(transcript, complete)
        path, source_hash = storage.fetch(self._video, self._folder, self._claim)
        if transcript.source_hash != source_hash:
            return self._begin_with_file(path, source_hash)
        return FromFile(transcript, capability, MediaFile.read(path, self._video.language))

    def _begin_with_file(self, path: Path, source_hash: str) -> Input:
        file = MediaFile.read(path, self._video.language)
        found = file.probe
        file.check_duration()
        storage.check_room(self._folder, found.announced_ms)
        model = conf().transcription_model
        capability = model_probe.known_capability(model) or model_probe.probe(
            self._claim, file, self._folder, model
        )
        picture = thumbnail.stored(self._video, path, found)
        with self._claim.guard() as run:
            thumbnail.record(self._video, picture)
            deduplication.lock_content(source_hash, run.creator_id)
            transcript = self._create(
                run,
                capability,
                source_hash=source_hash,
                duration_ms=found.duration_ms or 0,
                track_count=len(found.tracks),
                warnings=_left_out(file, self._video.language),
            )
            has_equal = self._reuses_transcripts and deduplication.has_equal(
                transcript, run.creator_id
            )
        if has_equal and (complete := deduplication.find(transcript, run.creator_id)):
            return FromDuplicate(transcript, complete)
        return FromFile(transcript, capability, file, is_new=True)

    def _begin_with_audio_of(self, stored: Transcript) -> Input:
        model = conf().transcription_model
        capability = model_probe.known_capability(model)
        if capability is None:
            audio = storage.fetch_audio(stored, self._folder, self._claim)
            file = MediaFile.read(audio, "")
            capability = model_probe.probe(self._claim, file, self._folder, model)
        with self._claim.guard() as run:
            transcript = self._create(
                run,
                capability,
                source_hash=stored.source_hash,
                duration_ms=stored.duration_ms,
                track_count=stored.track_count,
                audio=stored.audio,
                truncated=stored.truncated,
                warnings=stored.warnings,
            )
        return FromStoredAudio(transcript, capability, self._claim)

    def _create(self, run: Run, capability: Capability, **known: object) -> Transcript:
        if run.token > 1:  # Else nothing was there before.
            recognition.forget_parts(run)
        transcript = Transcript(
            video=self._video,
            model=conf().transcription_model,
            capability=capability.as_json(),
            asked=_asked(self._video),
            **known,
        )
        limits = Limits(transcript.duration_ms, conf().parts_in_flight, capability.max_part_ms)
        transcript.splitter = limits.name
        transcript.save(force_insert=True)
        Revision.objects.filter(pk=self._revision.pk).update(transcript=transcript)
        if transcript.duration_ms:
            statuses.measured(self._video.pk, duration_ms=transcript.duration_ms)
        steps.begin_planned(run, [self._step])
        self._extend_deadline(transcript)
        return transcript

    def _extend_deadline(self, transcript: Transcript) -> None:
        """Let the stage take as long from now on as such a recording may."""
        media_s = transcript.duration_ms / 1000 or conf().max_duration_s
        self._claim.extend_deadline(_DEADLINE_S + _DEADLINE_PER_MEDIA_S * media_s)

    def _stored_transcript(self) -> Transcript | None:
        """Return a transcript whose audio serves this run, so that the video is not fetched."""
        if not self._reuses_audio or self._video.duration_s is None:
            return None  # Whoever stores audio tells how long it is (`statuses.measured`).
        cut = self._video.transcripts.exclude(audio="").filter(cut_at__isnull=False)
        stored = cut.order_by("-created_at").first()
        if stored is None or not storage.has_audio(self._video, stored):
            return None
        same_track = stored.track_count == 1 or stored.asked.get("language") == self._video.language
        return stored if same_track else None

    def _is_outdated(self, transcript: Transcript) -> bool:
        """Whether nothing was recognized for it that a new model or splitter could go on with."""
        if transcript.model == Transcript.CAPTIONS:
            return True
        try:
            Limits.from_name(transcript.splitter)
        except ValueError:
            # What is cut as a whole is never cut elsewhere.
            return transcript.cut_at is None or not storage.has_audio(self._video, transcript)
        if transcript.model == conf().transcription_model:
            return False
        return not transcript.parts.exclude(speech=[]).filter(result__isnull=False).exists()

    def _complete_duplicate(self, transcript: Transcript) -> Transcript | None:
        if not self._reuses_transcripts or transcript.parts.exists():
            return None
        return deduplication.find(transcript, self._claim.run.creator_id)


def _ends(transcript: Transcript) -> Sequence[int]:
    """Return where a transcript's audio was cut by an earlier attempt."""
    return list(transcript.parts.values_list("end_ms", flat=True))


def _asked(video: Video) -> dict[str, object]:
    """Return what the model is told about a video."""
    glossary = Glossary.objects.filter(creator=video.creator_id).first() or Glossary()
    return {
        "language": video.language,
        "prompt": glossary.prompt.strip(),
        "glossary": glossary.term_list,
    }


def _left_out(file: MediaFile, language: str) -> list[dict[str, Any]]:
    """Tell of each track that is not transcribed."""
    return [
        segments.warning(
            "audio_left_out",
            f"The file's {track} was not transcribed"
            + (
                ". Upload the video again with its language, if that is the one."
                if track.is_decodable
                else ": it cannot be decoded here."
            ),
        )
        for track in file.probe.choose(language).left_out
    ]
