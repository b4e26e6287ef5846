"""A person's captions in place of recognition: nothing is decoded, nothing is paid for."""

from __future__ import annotations

from pathlib import Path

from videos.audio import confidence, ffmpeg
from videos.audio.stitching import RecognizedSegment
from videos.durable import runs, steps
from videos.durable.claims import Claim
from videos.exceptions import UnreadableCaptions
from videos.models import Revision, Transcript, Video
from videos.models.video import MAX_CAPTION_BYTES
from videos.pipeline import segments, statuses, storage
from videos.pipeline.transcribe import thumbnail, written_language
from videos.text import caption_reader, caption_writer, captions, encodings

_TOLERANCE_MS = 2_000


def take_captions(claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
    """Make the transcript of the video's captions, and pass the run on.

    Raises:
        UnreadableCaptions: if they are neither SubRip nor WebVTT.
        FileFault: if the media itself is none.
    """
    with steps.step(claim, "captions") as step:
        source, _ = storage.fetch(video, folder, claim)
        found = ffmpeg.probe(source)
        cues, repairs, language = _read(video)
        last_ms = max(round(cue.end * 1000) for cue in cues)
        duration_ms = found.announced_ms or max(found.duration_ms or 0, last_ms)
        recognized = [
            RecognizedSegment(
                cue.start, cue.end, cue.text, cue.speaker, _doubt(cue, found.duration_ms)
            )
            for long in cues
            for cue in caption_writer.parted(long)
        ]
        language = (
            video.language
            or language
            or written_language.guess(segment.text for segment in recognized)
        )
        picture = thumbnail.stored(video, source, found)
        with claim.guard() as run:
            thumbnail.record(video, picture)
            transcript = Transcript.objects.create(
                video=video,
                model=Transcript.CAPTIONS,
                duration_ms=duration_ms,
                warnings=[
                    segments.warning("repaired_captions", f"The captions were mended. {repair}")
                    for repair in repairs
                ],
            )
            Revision.objects.filter(pk=revision.pk).update(transcript=transcript)
            statuses.measured(video.pk, duration_ms=duration_ms)
            segments.store(run, transcript, recognized, language=language, coverage=None)
            steps.finish(run, step, {"cues": len(recognized)})
            runs.advance(claim, run)


def _doubt(cue: captions.Caption, announced_ms: int | None) -> str:
    """Doubt what comes after the end that the media announces; that may be an estimate."""
    is_past = announced_ms and cue.start * 1000 > announced_ms + _TOLERANCE_MS
    return confidence.PAST_END if is_past else ""


def _read(video: Video) -> tuple[list[captions.Caption], list[captions.Repair], str]:
    assert video.captions.name is not None
    content = storage.read_whole(video, video.captions.name, MAX_CAPTION_BYTES)
    try:
        text, guesses = encodings.decode(content)
        cues, repairs = caption_reader.read(text)
    except captions.BadCaptions as error:
        raise UnreadableCaptions(
            f"The captions cannot be used. {error} Upload the video again with others, or without."
        ) from None
    return cues, guesses + repairs, caption_reader.language(text)
