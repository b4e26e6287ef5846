"""Writing a transcript as text, SubRip or WebVTT. Pure; times are in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Cue(Protocol):
    """What a caption needs of a segment."""

    @property
    def start(self) -> float: ...  # noqa: D102
    @property
    def end(self) -> float: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102


def as_txt(cues: Iterable[Cue]) -> str:
    """Return one line a cue."""
    return "".join(f"{cue.text}\n" for cue in cues)


def as_srt(cues: Iterable[Cue]) -> str:
    """Return SubRip: numbered cues, comma before the milliseconds."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_one_block(cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def as_vtt(cues: Iterable[Cue]) -> str:
    """Return WebVTT; text is escaped, so that a transcript cannot write cues or tags."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escaped(cue.text)}\n\n"
        for cue in cues
    )


def _clock(seconds: float, point: str) -> str:
    """Return HH:MM:SS.mmm; the hours go past 99 where they must."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _one_block(text: str) -> str:
    """A blank line would end the cue, and an arrow could be taken for a time."""
    return " ".join(text.split()).replace("-->", "→")


def _escaped(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.split())
