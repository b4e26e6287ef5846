"""Recordings of real speakers, from a package that brings some along."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.media import run_ffmpeg


def longest(folder: Path) -> npt.NDArray[np.int16]:
    """The longest recording, 44 s of a novel read aloud, as 16 kHz mono samples."""
    import moonshine_voice

    assets = Path(moonshine_voice.__file__).parent / "assets"
    found = max(assets.glob("*.wav"), key=lambda path: path.stat().st_size)
    raw = folder / "recording.raw"
    run_ffmpeg("-i", found, "-ac", 1, "-ar", 16_000, "-f", "s16le", raw)
    return np.frombuffer(raw.read_bytes(), "<i2")
