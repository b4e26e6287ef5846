"""Sounds that encode their own position: what was recognized can be compared with when it was.

A word is two tones, one after the other, whose frequencies are the two digits of its number in
base 64. Every tenth word a sentence ends, and now and then nobody speaks for half a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.media import run_ffmpeg

RATE = 16_000
TONE_S = 0.15
WORD_S = 2 * TONE_S
_BASE = 64
_LOWEST_HZ, _STEP_HZ = 400, 40
_LOUD = 0.05
_WORDS_A_SENTENCE = 10
_WORDS_UNTIL_SILENCE = 250
_SILENCE_S = 30.0


def word_starts(seconds: float) -> list[float]:
    """Return when the words of a recording begin: a word a second, with pauses."""
    starts, at, number = [], 0.7, 0
    while at + WORD_S < seconds:
        starts.append(round(at, 3))
        number += 1
        at += 0.55 + 0.013 * (number % 7)
        if number % _WORDS_A_SENTENCE == 0:
            at += 0.8
        if number % _WORDS_UNTIL_SILENCE == 0:
            at += _SILENCE_S
    return starts


def write_recording(path: Path, seconds: float) -> list[float]:
    """Write a recording in the format of the path's ending; return when its words begin."""
    starts = word_starts(seconds)
    samples = np.zeros(int(seconds * RATE), np.float32)
    for number, start in enumerate(starts):
        first = round(start * RATE)
        word = _word(number)
        samples[first : first + len(word)] = word
    wav = path.with_suffix(".source.wav")
    soundfile.write(wav, samples, RATE)
    run_ffmpeg("-i", wav, "-b:a", "96k", path)
    wav.unlink()
    return starts


def _word(number: int) -> Any:
    time = np.arange(int(TONE_S * RATE)) / RATE
    digits = divmod(number, _BASE)
    return np.concatenate(
        [0.3 * np.sin(2 * np.pi * (_LOWEST_HZ + _STEP_HZ * digit) * time) for digit in digits]
    )


def hear_words(samples: Any, rate: int) -> list[tuple[float, float, str]]:
    """Return the words in samples: start, end, and "w" with the number."""
    frame = rate // 1000
    envelope = np.abs(samples[: len(samples) // frame * frame]).reshape(-1, frame).max(axis=1)
    loud = np.concatenate([[False], envelope > _LOUD, [False]])
    # A millisecond below the threshold inside a word is no pause.
    edges = np.flatnonzero(np.diff(loud.astype(np.int8))).reshape(-1, 2)
    bursts: list[list[int]] = []
    for begin, end in edges.tolist():
        if bursts and begin - bursts[-1][1] < 50:
            bursts[-1][1] = end
        else:
            bursts.append([begin, end])
    recognized = []
    for begin, end in bursts:
        if end - begin > 1000 * TONE_S:
            number = _number(samples[begin * frame :], rate)
            recognized.append((begin / 1000, end / 1000, f"w{number}"))
    return recognized


def _number(samples: Any, rate: int) -> int:
    length = int(TONE_S * rate)
    digits = []
    for first in (0, length):
        tone = samples[first : first + length]
        spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), n=8 * length))
        hertz = spectrum.argmax() * rate / (8 * length)
        digits.append(round((hertz - _LOWEST_HZ) / _STEP_HZ))
    return digits[0] * _BASE + digits[1]
