"""A media file that is to be transcribed: what it holds, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videos.audio import ffmpeg
from videos.audio.appended_files import holds_another_file
from videos.audio.ffmpeg_output import Probe, Track
from videos.conf import conf
from videos.exceptions import TooLong

#: Pictures may go on for a while after the last sound; beyond this, sound is missing.
_MIN_MISSING_MS = 2_000
_MISSING_SHARE = 0.01


@dataclass(frozen=True)
class MediaFile:
    """A local media file, what it says of itself, and its tracks that are transcribed."""

    path: Path
    probe: Probe
    tracks: tuple[Track, ...]

    @classmethod
    def read(cls, path: Path, language: str) -> MediaFile:
        """Read a file's header, and choose its tracks for a language.

        Raises:
            FileFault: if there is nothing that can be transcribed.
        """
        probe = ffmpeg.probe(path)
        return cls(path, probe, probe.choose(language).used)

    def is_cut_off(self, end_ms: int, cpu_s: int) -> bool:
        """Whether audio that ends at `end_ms` does so because the file does, or another begins."""
        announced_ms = self.probe.announced_ms
        if announced_ms is not None and _is_early(end_ms, announced_ms):
            # Films go on without a sound; a file that was cut off does not.
            is_silent = self.probe.has_pictures and not _is_early(
                ffmpeg.pictures_end_ms(self.path, cpu_s), announced_ms
            )
            return not is_silent
        return holds_another_file(self.path)

    def check_duration(self) -> None:
        """Refuse what announces that it is too long.

        Raises:
            TooLong: if it is longer than CHRONOS_MAX_DURATION_S.
        """
        limit, announced_ms = conf().max_duration_s, self.probe.announced_ms
        if announced_ms and announced_ms > limit * 1000:
            raise TooLong(
                f"The media is {announced_ms / 3_600_000:.1f} h long; the limit is "
                f"{limit / 3600:g} h. Shorten it, or ask the operator to raise "
                "CHRONOS_MAX_DURATION_S."
            )


def _is_early(end_ms: int, announced_ms: int) -> bool:
    return announced_ms - end_ms > max(_MIN_MISSING_MS, announced_ms * _MISSING_SHARE)
