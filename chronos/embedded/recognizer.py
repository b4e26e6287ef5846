"""Speech to words with their times, by faster-whisper (Whisper on CTranslate2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment

from videos.audio.mixing import Samples, floats
from videos.audio.parts import SAMPLE_RATE
from videos.audio.splitting import Limits, Splitter, levels_db
from videos.local.semaphores import acquired

#: What Silero's VAD takes for silence or music is left out before Whisper can invent words for
#: it. Shorter pauses stay inside: Whisper hears sentences by them.
_VAD = {"min_silence_duration_ms": 1_000, "speech_pad_ms": 300}
#: Whisper tries again by itself, warmer, what repeats itself or is unlikely (openai/whisper,
#: transcribe.py).
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
#: Unlikely words after a silence of so many seconds are looked for anew behind it.
_HALLUCINATION_SILENCE_S = 2.0
#: So much is recognized at a time: a minute takes about 60 MB (docs/figures.md).
_WINDOW_MS = 120_000
#: Codes of Whisper's that are not those of ISO 639-1.
_WHISPERS_OWN = {"jv": "jw", "nb": "no"}


@dataclass(frozen=True)
class Recognition:
    """What was recognized: segments as faster-whisper has them, times in seconds."""

    segments: list[Segment]
    #: The ISO code of the language that was asked for or detected; empty if nobody speaks.
    language: str

    @property
    def text(self) -> str:
        """All of it, as one line."""
        return " ".join(segment.text.strip() for segment in self.segments)


class Recognizer:
    """A loaded model. Many threads may use it; each core works on one recording."""

    def __init__(self, folder: Path) -> None:
        # One core each: two that share a recording take longer than one (docs/figures.md).
        cores = os.cpu_count() or 1
        self._places = threading.BoundedSemaphore(cores)
        self._model = WhisperModel(
            str(folder),
            compute_type="auto" if ctranslate2.get_cuda_device_count() else "int8",
            cpu_threads=1,
            num_workers=cores,
            local_files_only=True,
        )

    def knows(self, language: str) -> bool:
        """Whether the model can recognize the language of an ISO code."""
        return _whispers(language) in self._model.supported_languages

    def recognize(
        self,
        samples: Samples,
        *,
        language: str = "",
        prompt: str = "",
        temperature: float = 0.0,
        check: Callable[[], object] = lambda: None,
    ) -> Recognition:
        """Recognize 16 kHz mono samples.

        Args:
            samples: the audio, of any length.
            language: an ISO code; empty: it is detected.
            prompt: text in whose style the first words are.
            temperature: from 0, the likeliest words, to 1: where sampling begins.
            check: called before each half minute of speech; what it raises ends the work.
        """
        segments: list[Segment] = []
        temperatures = [each for each in _TEMPERATURES if each >= temperature]
        with acquired(self._places, check):
            for begin, window in _windows(samples):
                found, info = self._model.transcribe(
                    window,
                    language=_whispers(language) or None,
                    initial_prompt=prompt or None,
                    temperature=temperatures,
                    condition_on_previous_text=False,
                    word_timestamps=True,
                    vad_filter=True,
                    vad_parameters=_VAD,
                    hallucination_silence_threshold=_HALLUCINATION_SILENCE_S,
                )
                for segment in found:
                    check()
                    segments.append(_later(segment, begin, len(segments)))
                    language = language or info.language
                check()
        return Recognition(segments, language if segments else "")


def _windows(samples: Samples) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Yield stretches with sound, cut in pauses, and when they begin: memory grows with them."""
    end_ms = len(samples) * 1000 // SAMPLE_RATE
    splitter = Splitter(Limits(0, 1, _WINDOW_MS))
    per_ms = SAMPLE_RATE // 1000
    for part in [*splitter.feed(levels_db(samples)), *splitter.finish(end_ms)]:
        if part.speech:
            window = samples[part.start_ms * per_ms : part.end_ms * per_ms]
            yield part.start_ms / 1000, floats(window)


def _later(segment: Segment, by_s: float, number: int) -> Segment:
    words = [
        replace(word, start=word.start + by_s, end=word.end + by_s) for word in segment.words or ()
    ]
    return replace(
        segment, id=number, start=segment.start + by_s, end=segment.end + by_s, words=words
    )


def _whispers(language: str) -> str:
    code = language.lower().split("-")[0]
    return _WHISPERS_OWN.get(code, code)
