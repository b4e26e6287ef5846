"""Reading SubRip and WebVTT as people and machines really write them. Pure; times in seconds.

Whatever is not as it should be is read as far as anybody can, and told: `Repair`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from videos.text.captions import TAG, BadCaptions, Caption, Repair
from videos.text.storable import without_control

#: Hours may be left out; the fraction, too, or it follows a colon. SMPTE counts frames there.
_TIME = r"(-?)(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:\s?([.,:])\s?(\d{1,9}))?"
#: An arrow as it was meant: "-->", "->", "—>", "→", "--&gt;", a dash, or nothing but spaces.
_ARROW = r"(?:\s*(?:[-–—−=~]{0,3}\s?(?:>|&gt;)|→|[-–—−]{1,3})\s*|\s+)"
_TIMING = re.compile(rf"\s*{_TIME}({_ARROW}){_TIME}(?:\s.*)?$")
#: What begins or ends like a line of times, and is not one.
_BROKEN_TIMING = re.compile(r"\s*-?\d+\s*[:.,]\s*\d.*(?:-->|->|—>|→)|.*-->\s*-?\d+\s*[:.,]\s*\d")
_VTT_LANGUAGE = re.compile(r"^Language:\s*([A-Za-z]{2})(?:-\w+)*\s*$", re.MULTILINE)
_NUMBER = re.compile(r"\s*\d{1,9}\s*$")
_VTT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]*)>")
_BREAK = re.compile(r"<br\s*/?>|\\N", re.IGNORECASE)
_MARKED = re.compile(r"[<&{\\]")
#: Twelve hours have as many cues of less than half a second.
_MAX_CUES = 100_000
_MAX_SPEAKER = 100
_FRAMES_PER_S = 25
#: How long a cue is shown whose end nobody knows, if none follows.
_UNKNOWN_S = 3.0
#: Cues follow one another without a gap where they roll.
_ROLLING_GAP_S = 0.25
#: So many cues in a row that begin with what the one before ended with are no coincidence.
_MIN_ROLLING = 3
#: Nor are so many where they are all that the file has.
_MIN_ROLLING_ALL = 2
_MAX_ROLLING_LINES = 4
_MIN_CARRIED = 5
#: A refrain of one word has fewer different letters.
_MIN_LETTERS = 8


@dataclass(frozen=True)
class _Block:
    """A cue as it stands in the file: its times, if they can be read, and its lines of text."""

    line: int
    times: tuple[float, float] | None
    lines: list[str]


def language(text: str) -> str:
    """Return the ISO 639-1 code that the header of a WebVTT file names; "" for none."""
    header, _, _ = text.replace("\r\n", "\n").partition("\n\n")
    named = _VTT_LANGUAGE.search(header) if header.lstrip("\ufeff").startswith("WEBVTT") else None
    return named[1].lower() if named else ""


def read(text: str) -> tuple[list[Caption], list[Repair]]:
    """Read SubRip or WebVTT: every cue with text, in the order of time, and what was mended.

    Markup is dropped; voices become speakers, each with a caption of its own. SubRip text after
    an empty line belongs to the cue before it. Of captions that roll, each phrase is kept once.

    Raises:
        BadCaptions: if there is no cue in it that can be read, or more than 100,000.
    """
    lines = without_control(text.lstrip("\ufeff")).splitlines()
    repairs: list[Repair] = []
    is_vtt = bool(lines) and lines[0].startswith("WEBVTT")
    blocks = list(_blocks(lines, repairs, is_vtt=is_vtt))
    unreadable = [block for block in blocks if block.times is None]
    if unreadable and len(unreadable) == len(blocks):
        raise BadCaptions(f"Line {unreadable[0].line}: the times cannot be read.")
    cues = [
        replace(cue, text=shown)
        for cue in _unrolled(_in_time(blocks, repairs), repairs)
        if (shown := " ".join(cue.text.split()))
    ]
    spoken = [voice for cue in cues for voice in _voices(cue)]
    if not spoken:
        raise BadCaptions("It has no cues: it is neither SubRip nor WebVTT.")
    return spoken, _grouped(repairs)


def _blocks(lines: Sequence[str], repairs: list[Repair], *, is_vtt: bool) -> Iterator[_Block]:
    """Yield the cues: each begins with a line of times, wherever that stands."""
    block: _Block | None = None
    count = 0
    ended = is_ignored = is_after_gap = is_numbered = False
    for number, line in enumerate(lines, start=1):
        timing = _timing(line)
        is_broken = timing is None and not is_ignored and _BROKEN_TIMING.match(line) is not None
        if timing is None and not is_broken:
            is_empty = not line if is_vtt else not line.strip()
            if is_empty:
                ended = bool(block and block.lines)
                is_ignored = False
            elif is_vtt and (ended or block is None) and _VTT_BLOCK.match(line):
                is_ignored = True
            elif block is not None and not is_ignored:
                if not (is_vtt and ended):
                    block.lines.append(line)
                    is_after_gap, ended = ended, False
                elif not _is_identifier(lines, number):
                    repairs.append(Repair("a text between cues was left out", number))
                    is_ignored = True
            continue
        if block is None:
            is_numbered = number > 1 and _NUMBER.match(lines[number - 2]) is not None
        else:
            has_number = is_after_gap or (is_numbered and not (is_vtt and ended))
            yield _without_number(block) if has_number else block
        count += 1
        if count > _MAX_CUES:
            raise BadCaptions(f"It has more than {_MAX_CUES} cues.")
        block = _Block(number, _times(timing, number, repairs) if timing else None, [])
        ended = is_ignored = is_after_gap = False
        if is_broken:
            repairs.append(
                Repair("the times cannot be read; the text was put between its neighbors", number)
            )
    if block is not None:
        yield block


def _timing(line: str) -> re.Match[str] | None:
    """Return a line's times, if it is one of times: opening hours and scores in a text are not."""
    timing = _TIMING.match(line)
    if timing is None or ">" in timing[7] or "→" in timing[7] or "&gt;" in timing[7]:
        return timing
    start, end = timing.groups()[:6], timing.groups()[7:]
    are_exact = all(hours or fraction for _, hours, _, _, _, fraction in (start, end))
    return timing if are_exact else None


def _is_identifier(lines: Sequence[str], number: int) -> bool:
    """Whether a line of WebVTT is the name of the cue whose times follow it."""
    return number < len(lines) and _timing(lines[number]) is not None


def _without_number(block: _Block) -> _Block:
    """Leave out the number of the cue that follows."""
    kept = list(block.lines)
    if kept and _NUMBER.match(kept[-1]):
        kept.pop()
    return replace(block, lines=kept)


def _times(timing: re.Match[str], number: int, repairs: list[Repair]) -> tuple[float, float]:
    start, end = _seconds(timing.groups()[:6]), _seconds(timing.groups()[7:])
    if start < 0 or end < 0:
        repairs.append(Repair("a time is negative; it was taken for 0", number))
    return max(start, 0.0), max(end, 0.0)


def _seconds(fields: Sequence[str | None]) -> float:
    sign, hours, minutes, seconds, point, fraction = fields
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    part = 0.0
    if fraction and point == ":" and len(fraction) < 3:
        part = min(int(fraction) / _FRAMES_PER_S, 0.999)
    elif fraction:
        part = int(fraction) / 10 ** len(fraction)
    return -(whole + part) if sign else whole + part


def _in_time(blocks: Sequence[_Block], repairs: list[Repair]) -> list[tuple[Caption, list[str]]]:
    """Return cues in the order of time, each with its lines; mend ends that lie before starts."""
    timed: list[tuple[float, float, int, list[str]]] = []
    before = 0.0
    for block, following in zip(blocks, _next_starts(blocks), strict=True):
        start, end = block.times or (before, -1.0)
        if end < start:
            end = following if following > start else start + _UNKNOWN_S
            if block.times is not None:
                repairs.append(
                    Repair("the cue ends before it begins; it was extended to the next", block.line)
                )
        before = end
        lines = [_plain(line, block.line, repairs) for line in block.lines]
        timed.append((start, end, block.line, [line for line in lines if line.strip()]))
    timed.sort(key=lambda entry: entry[:3])
    return [(Caption(start, end, "\n".join(lines)), lines) for start, end, _, lines in timed]


def _next_starts(blocks: Sequence[_Block]) -> list[float]:
    """Return for each cue when the next one begins that has times; 0 after the last."""
    starts, following = [], 0.0
    for block in reversed(blocks):
        starts.append(following)
        following = block.times[0] if block.times else following
    return starts[::-1]


def _plain(line: str, number: int, repairs: list[Repair]) -> str:
    """Return a line without markup, but with its voices, which `_voices` takes out."""
    if not _MARKED.search(line):
        return line
    line = _BREAK.sub(" ", line)
    parts = []
    at = 0
    for voice in _VOICE.finditer(line):
        name = " ".join(_unescaped(voice[1], number, repairs).split())[:_MAX_SPEAKER]
        parts += [_unescaped(TAG.sub("", line[at : voice.start()]), number, repairs)]
        parts += [f"{_VOICE_BEGINS}{name}{_VOICE_ENDS}"]
        at = voice.end()
    parts.append(_unescaped(TAG.sub("", line[at:]), number, repairs))
    return "".join(parts)


#: Control characters, of which a text has none.
_VOICE_BEGINS, _VOICE_ENDS = "\x02", "\x03"
_VOICE_MARK = re.compile(f"{_VOICE_BEGINS}([^{_VOICE_ENDS}]*){_VOICE_ENDS}")


def _unescaped(text: str, number: int, repairs: list[Repair]) -> str:
    if "&" not in text:
        return text
    try:
        return without_control(html.unescape(text))
    except ValueError:  # Python reads no number of thousands of digits.
        repairs.append(Repair("a character's number cannot be read; it was left", number))
        return text


def _unrolled(
    timed: Sequence[tuple[Caption, list[str]]], repairs: list[Repair]
) -> Iterator[Caption]:
    """Yield cues; of those that roll, only what is new in each.

    Live captions repeat the lines that are still on the screen while the next ones grow.
    """
    carried = [0, *(_carried(before, cue) for before, cue in pairwise(timed))][: len(timed)]
    rolls = _rolling(timed, carried)
    if any(rolls):
        repairs.append(
            Repair("The captions scroll; each phrase was kept once, where it first appears", 0)
        )
    for (cue, _), count, is_rolling in zip(timed, carried, rolls, strict=True):
        yield replace(cue, text=" ".join(cue.text.split()[count:])) if is_rolling else cue


def _carried(before: tuple[Caption, list[str]], after: tuple[Caption, list[str]]) -> int:
    """Return with how many words of the one before, from a line's beginning on, a cue begins."""
    if after[0].start - before[0].end > _ROLLING_GAP_S:
        return 0
    words = after[0].text.split()
    for first in range(max(0, len(before[1]) - _MAX_ROLLING_LINES), len(before[1])):
        tail = " ".join(before[1][first:]).split()
        if words[: len(tail)] == tail:
            return len(tail)
    return 0


def _rolling(timed: Sequence[tuple[Caption, list[str]]], carried: Sequence[int]) -> list[bool]:
    """Tell which cues are inside a stretch of captions that roll."""
    rolls = [False] * len(timed)
    first = growing = 0
    for position in range(len(timed) + 1):
        if position < len(timed) and carried[position]:
            words = timed[position][0].text.split()
            kept = sum(map(len, words[: carried[position]]))
            growing += carried[position] < len(words) and kept >= _MIN_CARRIED
            continue
        letters = {letter for cue, _ in timed[first:position] for letter in cue.text.lower()}
        is_all = position - first == len(timed)
        needed = _MIN_ROLLING_ALL if is_all else _MIN_ROLLING
        if growing >= needed and len(letters) >= _MIN_LETTERS:
            rolls[first:position] = [True] * (position - first)
        first, growing = position, 0
    return rolls


def _voices(cue: Caption) -> Iterator[Caption]:
    """Yield what each voice of a cue says, timed by the characters."""
    said = _VOICE_MARK.split(cue.text)
    pieces = [("", said[0]), *zip(said[1::2], said[2::2], strict=True)]
    spoken = [(name, " ".join(text.split())) for name, text in pieces if text.strip()]
    characters = sum(len(text) for _, text in spoken)
    at = cue.start
    for number, (name, text) in enumerate(spoken, start=1):
        share = (cue.end - cue.start) * len(text) / characters
        end = cue.end if number == len(spoken) else at + share
        yield Caption(at, end, text, name)
        at = end


def _grouped(repairs: Sequence[Repair]) -> list[Repair]:
    """Return one repair of each kind, with the first of its lines."""
    kinds: dict[str, Repair] = {}
    for repair in repairs:
        known = kinds.get(repair.what)
        kinds[repair.what] = replace(known, count=known.count + repair.count) if known else repair
    return list(kinds.values())
