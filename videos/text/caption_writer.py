"""Writing SubRip, WebVTT and text. Pure; times are in seconds."""

from __future__ import annotations

import html
import math
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from videos.text.captions import TAG, Caption, Cue
from videos.text.timecodes import timecode

#: What a line of a caption holds, and a cue of lines (BBC Subtitle Guidelines: 37 to 42 characters,
#: two lines). A Chinese, Japanese or Korean sign counts twice.
MAX_COLUMNS = 42
MAX_LINES = 2
_LOOKALIKES = str.maketrans("<>{}", "‹›()")
_MAX_TEXT = 2_000
#: Nobody reads a text of more lines as captions.
_MAX_EVENED = 100


def parted(cue: Caption) -> Iterator[Caption]:
    """Yield a cue in parts of at most 2,000 characters, timed by their lengths.

    Nobody reads so much at once; a text without end would be too long for a search's index.
    """
    groups = [[part] for part in _parts(cue.text)]
    for (start, end), (part,) in zip(_times(cue, groups), groups, strict=True):
        yield Caption(start, end, part, cue.speaker)


def _parts(text: str) -> Iterator[str]:
    part = ""
    for word in text.split():
        for at in range(0, len(word), _MAX_TEXT):
            piece = word[at : at + _MAX_TEXT]
            if part and len(part) + 1 + len(piece) > _MAX_TEXT:
                yield part
                part = piece
            else:
                part = f"{part} {piece}" if part else piece
    yield part


def as_txt(cues: Iterable[Cue]) -> str:
    """Return one line a cue, after who speaks, where that is known."""
    return "".join(f"{cue.speaker}: " * bool(cue.speaker) + f"{cue.text}\n" for cue in cues)


def as_srt(cues: Iterable[Cue]) -> str:
    """Return SubRip: numbered cues, comma before the milliseconds."""
    return "".join(
        f"{number}\n{timecode(cue.start, ',')} --> {timecode(cue.end, ',')}\n"
        f"{_without_markup(cue.text)}\n\n"
        for number, cue in enumerate(laid_out(cues), start=1)
    )


def as_vtt(cues: Iterable[Cue]) -> str:
    """Return WebVTT; text is escaped, so that a transcript cannot write cues or tags."""
    return "WEBVTT\n\n" + "".join(
        f"{timecode(cue.start, '.')} --> {timecode(cue.end, '.')}\n"
        f"{_voice(cue)}{_escaped(cue.text)}\n\n"
        for cue in laid_out(cues)
    )


def laid_out(cues: Iterable[Cue]) -> Iterator[Caption]:
    """Yield captions of at most two lines of 42 columns; longer cues become several.

    Their times are those of their words where these are known, else in proportion to their
    characters.
    """
    for cue in cues:
        lines = _wrapped(cue.text)
        groups = [lines[at : at + MAX_LINES] for at in range(0, len(lines), MAX_LINES)]
        for (start, end), group in zip(_times(cue, groups), groups, strict=True):
            yield Caption(start, end, "\n".join(group), cue.speaker)


def _times(cue: Cue, groups: Sequence[Sequence[str]]) -> Iterator[tuple[float, float]]:
    """Yield when each group of lines is shown; together they last as long as the cue."""
    counts = [sum(len(line.split()) for line in group) for group in groups]
    lengths = [sum(map(len, group)) for group in groups]
    all_characters = sum(lengths)
    are_known = len(cue.words) == sum(counts)
    start, words, characters = cue.start, 0, 0
    for count, length in zip(counts, lengths, strict=True):
        words, characters = words + count, characters + length
        if characters == all_characters:
            end = cue.end
        elif are_known:
            end = float(cue.words[words][0])
        else:
            end = cue.start + (cue.end - cue.start) * characters / all_characters
        end = min(max(start, end), cue.end)
        yield start, end
        start = end


def _wrapped(text: str) -> list[str]:
    """Break text into lines of at most 42 columns, which fill their cues evenly.

    Else the last word of a sentence would often flash up by itself.
    """
    pieces = [
        (piece, _columns(piece), piece == word) for word in text.split() for piece in _pieces(word)
    ]
    lines = _lines(pieces, MAX_COLUMNS)
    if len(lines) > _MAX_EVENED:
        return lines
    cues = math.ceil(len(lines) / MAX_LINES)
    wanted = len(lines) if cues <= 1 else cues * MAX_LINES
    widths = range(1, MAX_COLUMNS + 1)
    narrowest = bisect_left(widths, True, key=lambda width: len(_lines(pieces, width)) <= wanted)
    return _lines(pieces, widths[narrowest])


def _lines(pieces: Sequence[tuple[str, int, bool]], width: int) -> list[str]:
    """Put pieces with their columns into lines of so many; one that is no whole word begins one."""
    lines: list[list[str]] = []
    filled = 0
    for piece, columns, is_word in pieces:
        if lines and is_word and filled + 1 + columns <= width:
            lines[-1].append(piece)
            filled += 1 + columns
        else:
            lines.append([piece])
            filled = columns
    return [" ".join(line) for line in lines]


def _pieces(word: str) -> Iterator[str]:
    """Yield a word, cut where it is longer than a line: scripts without spaces, addresses."""
    piece, columns = "", 0
    for letter in word:
        width = _columns(letter)
        if columns + width > MAX_COLUMNS:
            yield piece
            piece, columns = "", 0
        piece += letter
        columns += width
    yield piece


def _columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _voice(cue: Cue) -> str:
    return f"<v {_escaped(' '.join(cue.speaker.split()))}>" if cue.speaker else ""


def _without_markup(text: str) -> str:
    """Write otherwise what SubRip, which has no escapes, would take for a time or a tag."""
    return TAG.sub(lambda tag: tag[0].translate(_LOOKALIKES), text.replace("-->", "→"))


def _escaped(text: str) -> str:
    """Escape tags, and the backslash, with which SubRip's begin: many readers know both."""
    return html.escape(text, quote=False).replace("\\", "&#92;")
