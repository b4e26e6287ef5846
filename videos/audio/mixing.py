"""Two channels to one, where one may be the other turned upside down. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from videos.audio.parts import SAMPLE_RATE

Samples = npt.NDArray[np.int16]

#: Below a quarter of the difference's energy (6 dB), a sum is what two channels have left of each
#: other, such as those of a microphone whose wires were swapped.
_CANCELS = 0.25
_SECOND = SAMPLE_RATE


def mono(stereo: Samples) -> Samples:
    """Return the mean of two channels, or half their difference where they cancel each other out.

    Args:
        stereo: interleaved samples, left first. The choice is made anew for each second.
    """
    channels = stereo.reshape(-1, 2)
    if np.array_equal(channels[:, 0], channels[:, 1]):
        return channels[:, 0].copy()  # As of most talks: one channel, written twice.
    wide = channels.astype(np.float32)
    mixed = np.empty(len(wide), np.int16)
    for begin in range(0, len(wide), _SECOND):
        second = wide[begin : begin + _SECOND]
        left, right = second[:, 0], second[:, 1]
        total, difference = left + right, left - right
        kept = difference if _energy(total) < _CANCELS * _energy(difference) else total
        mixed[begin : begin + _SECOND] = kept * np.float32(0.5)
    return mixed


def floats(samples: Samples) -> npt.NDArray[np.float32]:
    """Return samples as models take them, from -1 to 1."""
    return samples.astype(np.float32) / np.float32(32_768)


def _energy(samples: npt.NDArray[np.float32]) -> float:
    return float(np.dot(samples, samples))
