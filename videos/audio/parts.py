"""The parts of a recording, each of which fits one upload. Pure; times are in milliseconds.

PCM at 16 kHz mono is 32,000 bytes a second and FLAC is never noticeably larger than that, so a
part of at most MAX_PART_MS stays under 23.1 MB, below the API's 26,214,400 bytes for the whole
request, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAMPLE_RATE = 16_000
MAX_PART_MS = 12 * 60_000
#: A silence of more than this is not uploaded, but for this much at either side of speech.
LONG_SILENCE_MS = 10_000
_MARGIN_MS = 1_000

Interval = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A stretch of audio between two cuts, and the speech found in it."""

    start_ms: int
    end_ms: int
    speech: Sequence[Interval]

    @property
    def clips(self) -> list[Interval]:
        """What of the part is uploaded, one after the other: all but its long silences."""
        kept: list[Interval] = []
        silent_from = self.start_ms
        for start, end in [*self.speech, (self.end_ms, self.end_ms)]:
            if start - silent_from > LONG_SILENCE_MS:
                if kept:
                    kept[-1] = (kept[-1][0], silent_from + _MARGIN_MS)
                if start < self.end_ms:
                    kept.append((start - _MARGIN_MS, end))
            elif kept:
                kept[-1] = (kept[-1][0], end)
            else:
                kept.append((silent_from, end))
            silent_from = end
        return kept if self.speech else []

    @property
    def upload_ms(self) -> int:
        """Milliseconds of audio in the part's clips."""
        return sum(end - start for start, end in self.clips)
