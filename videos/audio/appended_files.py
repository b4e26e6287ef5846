"""Files that hold another one behind their end, where no decoder looks."""

from __future__ import annotations

import mmap
from pathlib import Path

#: The beginning of a FLAC file: its mark, and the header of a block of 34 bytes that is always
#: the first (RFC 9639, 8.2).
_FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_RIFF_HEADER_BYTES = 12
_FORMS = (b"WAVE", b"AVI ")
#: An AVI of a terabyte has a chunk each gigabyte.
_MAX_CHUNKS = 1_000


def holds_another_file(path: Path) -> bool:
    """Whether a FLAC, WAV or AVI file goes on with another of its kind, as joined parts do.

    Other containers' decoders say so, or go on by themselves.
    """
    with path.open("rb") as file:
        head = file.read(_RIFF_HEADER_BYTES)
        if len(head) < _RIFF_HEADER_BYTES:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if head.startswith(b"fLaC"):
                return any(content.find(mark, len(mark)) > 0 for mark in _FLAC)
            return head.startswith(b"RIFF") and _has_second_riff(content)


def _has_second_riff(content: mmap.mmap) -> bool:
    at = 0
    for _ in range(_MAX_CHUNKS):
        if at + _RIFF_HEADER_BYTES > len(content):
            return False
        if content[at : at + 4] != b"RIFF":
            return False
        if at and content[at + 8 : at + _RIFF_HEADER_BYTES] in _FORMS:
            return True
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False
