"""Seconds as people write them. Pure."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Return h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def timecode(seconds: float, point: str) -> str:
    """Return HH:MM:SS.mmm, with that point; the hours go past 99 where they must."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
