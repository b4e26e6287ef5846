"""Listening beside the service: when were words said, and does anybody speak here at all?

A service that gives no times has its words aligned with the audio; what no service vouches for is
compared with where there is a voice. It costs processor time of the worker's, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile

from videos.audio import confidence, speech_models, word_times
from videos.audio.mixing import Samples
from videos.audio.parts import Interval, Part
from videos.audio.stitching import ALIGNED, CUT, Clock, RecognizedSegment, spoken_intervals
from videos.conf import conf
from videos.durable.claims import Claim
from videos.models import AudioPart, Transcript
from videos.pipeline.transcribe.cutting import read_upload

logger = logging.getLogger(__name__)


def is_possible() -> bool:
    """Whether the worker may listen, and can."""
    return conf().listening and speech_models.are_installed()


def voice_in(part: Part, upload: Samples) -> list[Interval]:
    """Return where somebody speaks or sings in a part, in ms on the video's clock."""
    clock = Clock(part.clips)
    return [
        (round(clock.start(start / 1000) * 1000), round(clock.end(end / 1000) * 1000))
        for start, end in speech_models.voiced(upload)
    ]


def voice_in_file(part: Part, path: Path) -> list[Interval] | None:
    """Return where there is a voice in a part whose upload lies in a file; None: nobody can say."""
    if not is_possible() or path.suffix != ".flac":
        return None
    samples, _ = soundfile.read(path, dtype="int16")
    try:
        return voice_in(part, samples)
    except Exception:  # Whatever a model raises: the answer is paid, and is to be stored.
        logger.exception("The worker cannot listen for voices.")
        return None


def review(
    claim: Claim, transcript: Transcript, parts: Sequence[AudioPart], audio: Callable[[], Path]
) -> None:
    """Improve what each part's result says of times and voices, where it leaves something to ask.

    Each part is stored by itself, so that a run which goes on does only the rest. `audio` fetches
    the whole audio; it is called only where there is something to do.
    """
    if not conf().listening:
        return
    rows = [row for row in parts if row.speech and _is_open(row)]
    # Only a worker that has something to listen to loads the models' libraries: 100 MB.
    if not rows or not is_possible():
        return
    with soundfile.SoundFile(audio()) as whole:
        for row in rows:
            claim.check()
            upload = read_upload(whole, row.part)
            row.result = _reviewed(row, upload, transcript.asked.get("language", ""))
            with claim.guard():
                AudioPart.objects.filter(pk=row.pk).update(result=row.result)


def _is_open(row: AudioPart) -> bool:
    assert row.result is not None, "all parts are recognized before any is reviewed"
    if row.result.get("reviewed"):
        return False
    is_sure = all(segment.vouched for segment in row.recognized)
    return not is_sure or row.coverage < confidence.MIN_COVERAGE


def _reviewed(row: AudioPart, upload: Samples, language: str) -> dict[str, Any]:
    """Return the result of a part once it was listened to."""
    assert row.result is not None
    result = {**row.result, "reviewed": True}
    if aligned := _aligned(row, upload, language or result["language"]):
        result["segments"] = [segment.as_json() for segment in aligned]
    elif "voiced" not in result:
        result["voiced"] = voice_in(row.part, upload)
    return result


def _aligned(row: AudioPart, upload: Samples, language: str) -> list[RecognizedSegment]:
    """Return the segments with the times of their words, or none if they cannot be had."""
    recognized = row.recognized
    folder = _alignment_model()
    if folder is None or not any(segment.timing == CUT for segment in recognized):
        return []
    text = " ".join(segment.text for segment in recognized)
    words = speech_models.aligner(folder).align(upload, text, language)
    speech = spoken_intervals(row.part)
    return word_times.sentences(word_times.inside_speech(words, speech), ALIGNED)


def _alignment_model() -> Path | None:
    configured = conf().alignment_model
    return Path(configured) if configured else speech_models.default_alignment_model()
