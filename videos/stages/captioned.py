"""A person's captions in place of recognition: nothing is decoded, nothing is paid for."""

from __future__ import annotations

from pathlib import Path

from videos import captions, media, runs, sources, statuses, steps
from videos.claims import Claim
from videos.exceptions import NoAudio, UnreadableCaptions
from videos.models import Revision, Transcript, Video
from videos.models.video import MOST_CAPTION_BYTES
from videos.stages import segments
from videos.stitching import HeardSegment


def take_captions(claim: Claim, video: Video, revision: Revision, folder: Path) -> None:
    """Make the transcript of the video's captions, and pass the run on to `chunk`.

    Raises:
        UnreadableCaptions: if they are neither SubRip nor WebVTT.
        FileFault: if the media itself is none.
    """
    with steps.step(claim, "captions") as step:
        duration_ms = _duration_ms(claim, video, folder)
        cues = _read(video)
        duration_ms = duration_ms or round(cues[-1].end * 1000)
        end = duration_ms / 1000
        heard = [
            HeardSegment(min(cue.start, end), min(cue.end, end), cue.text, cue.speaker)
            for cue in cues
        ]
        with claim.guard() as run:
            transcript = Transcript.objects.create(
                video=video, model=Transcript.CAPTIONS, duration_ms=duration_ms
            )
            Revision.objects.filter(pk=revision.pk).update(transcript=transcript)
            statuses.measured(video.pk, duration_ms=duration_ms)
            segments.store(run, transcript, heard, language=video.language, coverage=None)
            steps.finish(run, step, {"cues": len(heard)})
            runs.advance(run, "chunk")


def _duration_ms(claim: Claim, video: Video, folder: Path) -> int | None:
    source, _ = sources.fetch(video, folder, claim)
    try:
        return media.probe(source).duration_ms
    except NoAudio:
        return None  # Captions of a silent film are captions.


def _read(video: Video) -> list[captions.Caption]:
    assert video.captions.name is not None
    content = sources.read_whole(video, video.captions.name, MOST_CAPTION_BYTES)
    try:
        return captions.read(captions.decode(content))
    except captions.BadCaptions as error:
        raise UnreadableCaptions(
            f"The captions cannot be used. {error} Upload the video again with others, or without."
        ) from None
