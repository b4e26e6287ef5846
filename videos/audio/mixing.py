"""Two channels to one, where one may be the other turned upside down. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

#: Below a quarter of the difference's energy (6 dB), a sum is what two channels have left of each
#: other, such as those of a microphone whose wires were swapped.
_CANCELS = 0.25


def mono(stereo: Samples) -> Samples:
    """Return the mean of two channels, or half their difference where they cancel each other out.

    Args:
        stereo: interleaved samples, left first, of a second or so: one choice is made for all.
    """
    left, right = (stereo[channel::2].astype(np.float32) for channel in (0, 1))
    total, difference = left + right, left - right
    kept = difference if _energy(total) < _CANCELS * _energy(difference) else total
    mixed: Samples = np.multiply(kept, 0.5, out=kept).astype(np.int16)
    return mixed


def _energy(samples: npt.NDArray[np.float32]) -> float:
    return float(np.dot(samples, samples))
