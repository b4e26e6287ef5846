"""What a transcription works on: the video's file, the audio kept of it, or an equal transcript."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videos.ai.capabilities import Capability
from videos.audio.splitting import Limits
from videos.conf import conf
from videos.durable.claims import Claim
from videos.exceptions import TooLong
from videos.models import Glossary, Revision, Run, Transcript, Video
from videos.pipeline import segments, statuses, storage
from videos.pipeline.transcribe import deduplication, model_probe, recognition
from videos.pipeline.transcribe.cutting import MediaFile


@dataclass(frozen=True)
class Material:
    """A transcript that is to be made complete, and what of.

    There is no need for a source where its audio was kept, nor where there is one to copy.
    """

    transcript: Transcript
    capability: Capability
    source: MediaFile | None = None
    equal: Transcript | None = None


class Gathering:
    """Finds the material of a run."""

    def __init__(self, claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
        self._claim = claim
        self._video = video
        self._revision = revision
        self._folder = folder
        asked = claim.run.data
        self._reuses_transcripts = not (asked.get("force") or asked.get("again"))
        self._reuses_audio = not asked.get("force")

    def gather(self) -> Material:
        """Go on with the run's transcript, or begin one.

        Raises:
            FileFault: if there is nothing that can be heard.
            SameContent: if another run is just transcribing the same file.
        """
        transcript = self._revision.transcript
        if transcript is not None and not self._is_outdated(transcript):
            return self._go_on(transcript)
        kept = self._kept_transcript()
        if kept is not None:
            capability = self._capability_by_kept(kept)
            return Material(self._begin_with_kept(kept, capability), capability)
        source, source_hash = storage.fetch(self._video, self._folder, self._claim)
        return self._begin(source, source_hash)

    def _go_on(self, transcript: Transcript) -> Material:
        capability = model_probe.known_capability(transcript.model) or Capability.from_json(
            transcript.capability
        )
        if storage.has_audio(self._video, transcript):
            return Material(transcript, capability)
        if equal := self._find_equal(transcript):
            return Material(transcript, capability, equal=equal)
        source, source_hash = storage.fetch(self._video, self._folder, self._claim)
        if transcript.source_hash != source_hash:
            return self._begin(source, source_hash)
        return Material(transcript, capability, MediaFile.read(source, self._video.language))

    def _begin(self, source: Path, source_hash: str) -> Material:
        file = MediaFile.read(source, self._video.language)
        found = file.probe
        _check_duration(found.announced_ms)
        storage.check_room(self._folder, found.announced_ms)
        model = conf().transcription_model
        capability = model_probe.known_capability(model) or model_probe.probe(
            self._claim, file, self._folder, model
        )
        with self._claim.guard() as run:
            deduplication.take_turn(source_hash, run.creator_id)
            transcript = self._create(
                run,
                capability,
                source_hash=source_hash,
                duration_ms=found.duration_ms or 0,
                track_count=len(found.tracks),
                warnings=_left_out(file, self._video.language),
            )
        return Material(transcript, capability, file, self._find_equal(transcript))

    def _capability_by_kept(self, kept: Transcript) -> Capability:
        model = conf().transcription_model
        if known := model_probe.known_capability(model):
            return known
        audio = storage.fetch_audio(kept, self._folder, self._claim)
        return model_probe.probe(self._claim, MediaFile.read(audio, ""), self._folder, model)

    def _begin_with_kept(self, kept: Transcript, capability: Capability) -> Transcript:
        with self._claim.guard() as run:
            return self._create(
                run,
                capability,
                source_hash=kept.source_hash,
                duration_ms=kept.duration_ms,
                track_count=kept.track_count,
                audio=kept.audio,
                truncated=kept.truncated,
                warnings=kept.warnings,
            )

    def _create(self, run: Run, capability: Capability, **known: object) -> Transcript:
        recognition.forget_parts(run)
        transcript = Transcript(
            video=self._video,
            model=conf().transcription_model,
            capability=capability.as_json(),
            asked=_asked(self._video),
            **known,
        )
        limits = Limits(transcript.duration_ms, conf().parts_in_flight, capability.longest_part_ms)
        transcript.splitter = limits.name
        transcript.save(force_insert=True)
        Revision.objects.filter(pk=self._revision.pk).update(transcript=transcript)
        if transcript.duration_ms:
            statuses.measured(self._video.pk, duration_ms=transcript.duration_ms)
        return transcript

    def _kept_transcript(self) -> Transcript | None:
        """Return a transcript whose audio serves this run, so that the video is not fetched."""
        if not self._reuses_audio:
            return None
        cut = self._video.transcripts.exclude(audio="").filter(cut_at__isnull=False)
        kept = cut.order_by("-created_at").first()
        if kept is None or not storage.has_audio(self._video, kept):
            return None
        same_track = kept.track_count == 1 or kept.asked.get("language") == self._video.language
        return kept if same_track else None

    def _is_outdated(self, transcript: Transcript) -> bool:
        """Whether nothing was heard for it yet that a new model or splitter could go on with."""
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

    def _find_equal(self, transcript: Transcript) -> Transcript | None:
        if not self._reuses_transcripts or transcript.parts.exists():
            return None
        return deduplication.find(transcript, self._claim.run.creator_id)


def _asked(video: Video) -> dict[str, object]:
    """Return what the model is told about a video."""
    glossary = Glossary.objects.filter(creator=video.creator_id).first() or Glossary()
    return {
        "language": video.language,
        "prompt": glossary.prompt.strip(),
        "glossary": glossary.term_list,
    }


def _left_out(file: MediaFile, language: str) -> list[dict[str, Any]]:
    """Tell of each track that is not heard."""
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


def _check_duration(announced_ms: int | None) -> None:
    limit = conf().max_duration_s
    if announced_ms and announced_ms > limit * 1000:
        raise TooLong(
            f"The media lasts {announced_ms / 3_600_000:.1f} h, the limit is "
            f"{limit / 3600:g} h. Cut it, or have the operator raise CHRONOS_MAX_DURATION_S."
        )
