"""Cuts at fixed minutes, as others make them, for comparison with ours."""

from __future__ import annotations

from videos.audio.splitting import Limits

_NO_LIMIT_MS = 10**9


def cut_every(minutes: int) -> None:
    """Have everything in this process cut every so many minutes; 0: not at all."""

    class Fixed(Limits):
        @property
        def targets(self) -> list[int]:
            step = minutes * 60_000 or self.duration_ms
            return [*range(step, self.duration_ms, step), self.duration_ms]

    def from_name(cls: type[Limits], name: str) -> Limits:
        _, duration_ms, in_flight, _ = map(int, name.split(":"))
        return Fixed(duration_ms, in_flight, _NO_LIMIT_MS)

    Limits.from_name = classmethod(from_name)
