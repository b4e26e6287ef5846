"""Changing the text of a transcript: words keep their times where they stay. Pure; seconds.

A line is what a person sees and edits: a segment of the transcript.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from videos.text.chunking import glue_between

#: Texts longer than this are compared word by word: comparing letters takes their product.
_MAX_COMPARED = 2_000
#: How far a line may begin or end from another that is taken for the same, in seconds.
_TOLERANCE_S = 0.75
_WORD = re.compile(r"\w+")

#: [start, end, word] each, in order.
Words = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Line:
    """A piece of a transcript; `machine_text` is what was recognized, None if nobody changed it."""

    start: float
    end: float
    text: str
    speaker: str = ""
    doubt: str = ""
    timing: str = "given"
    words: list[list[Any]] = field(default_factory=list)
    machine_text: str | None = None

    @property
    def is_corrected(self) -> bool:
        """Whether a person has changed it."""
        return self.machine_text is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept in a history."""
        return asdict(self)


class CannotChange(ValueError):
    """Raised for a change that makes no sense; says why."""


def rewritten(line: Line, text: str) -> Line:
    """Return a line with another text; nobody doubts what a person has written.

    Raises:
        CannotChange: if the text is empty.
    """
    text = " ".join(text.split())
    if not text:
        raise CannotChange("A line needs words. To remove it, join it with another.")
    if text == line.text and not line.doubt:
        return line
    machine_text = line.text if line.machine_text is None else line.machine_text
    is_as_recognized = text == machine_text
    return replace(
        line,
        text=text,
        doubt="",
        words=retimed(line, text),
        machine_text=None if is_as_recognized and text != line.text else machine_text,
    )


def split(line: Line, at: int) -> tuple[Line, Line]:
    """Split a line before the character at position `at` of its text.

    Raises:
        CannotChange: if one of the two would be empty.
    """
    before, after = line.text[:at].strip(), line.text[at:].strip()
    if not before or not after:
        raise CannotChange("There is nothing to split here: choose a place between two words.")
    words = [list(word) for word in line.words]
    count = _words_within(words, before)
    if 0 < count < len(words):
        end, start = words[count - 1][1], words[count][0]
    else:
        # Without times of words the letters tell, which is right within a second or two.
        count = 0
        start = line.start + (line.end - line.start) * len(before) / len(before + after)
        end = start
    first, second = _parted(line.machine_text or line.text, len(before) / len(before + after))
    return (
        replace(line, end=end, text=before, words=words[:count], machine_text=first),
        replace(line, start=start, text=after, words=words[count:], machine_text=second),
    )


def joined(first: Line, second: Line) -> Line:
    """Join two lines that follow each other; the first one's speaker says both."""
    has_words = bool(first.words and second.words)
    return Line(
        start=first.start,
        end=max(first.end, second.end),
        text=_glued(first.text, second.text),
        speaker=first.speaker,
        doubt=first.doubt or second.doubt,
        timing=first.timing if first.timing == second.timing else "aligned",
        words=[*first.words, *second.words] if has_words else [],
        machine_text=_glued(_recognized(first), _recognized(second)),
    )


def retimed(line: Line, text: str) -> list[list[Any]]:
    """Return the words of a new text with times: the old ones' where words stayed.

    What is new lies between its neighbors. Without times of the old words there are none.
    """
    if not line.words:
        return []
    spans = _old_spans(line.words, line.text)
    owners = _owners(line.text, text, spans)
    tokens = list(_tokens(text, owners, is_spaced=_is_spaced(line.words, line.text)))
    times = [_times_of(line.words, owners[begin:end]) for begin, end in tokens]
    return _filled(line, [text[begin:end] for begin, end in tokens], times)


def replaced(text: str, find: str, by: str, *, match_case: bool, whole_words: bool) -> str:
    """Return a text with every occurrence of `find` replaced by `by`, both taken literally."""
    pattern = re.escape(" ".join(find.split()))
    if whole_words:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return re.sub(pattern, lambda _: by, text, flags=0 if match_case else re.IGNORECASE)


def same_words(one: str, other: str) -> bool:
    """Whether two texts have the same words, however they are spelled with signs and capitals."""
    return _WORD.findall(one.casefold()) == _WORD.findall(other.casefold())


def carried_over(corrected: Sequence[Line], lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Put lines that a person has changed into a new transcript of the same recording.

    Returns:
        The new transcript's lines, and those of `corrected` that do not fit anywhere.
    """
    found = list(lines)
    unfit = []
    for line in corrected:
        first, last = _overlapping(found, line)
        put = _fitted(line, found[first:last])
        if put is None:
            unfit.append(line)
        else:
            found[first:last] = put
    return found, unfit


def _fitted(line: Line, others: Sequence[Line]) -> list[Line] | None:
    """Return what takes the place of the lines that overlap a corrected one; None: nothing fits."""
    if not others:
        return None
    said_each = [other.text for other in others]
    said = " ".join(said_each)
    texts = _shared_out(line.text, said_each)
    if all(map(same_words, texts, said_each)):
        return [
            replace(_put_into(other, text), speaker=line.speaker or other.speaker)
            for other, text in zip(others, texts, strict=True)
        ]
    is_as_long = (
        abs(others[0].start - line.start) <= _TOLERANCE_S
        and abs(others[-1].end - line.end) <= _TOLERANCE_S
    )
    whole = others[0]
    for other in others[1:]:
        whole = joined(whole, other)
    if is_as_long:
        put = rewritten(replace(whole, machine_text=said, words=whole.words), line.text)
        return [replace(put, speaker=line.speaker or put.speaker, machine_text=said)]
    mistake = rf"(?<!\w){re.escape(line.machine_text or '')}(?!\w)"
    if len(others) == 1 and line.machine_text and re.search(mistake, whole.text):
        return [rewritten(whole, re.sub(mistake, lambda _: line.text, whole.text, count=1))]
    return _cut_out(line, whole)


def _shared_out(text: str, others: Sequence[str]) -> list[str]:
    """Cut a text where others end that may have the same words: its signs and capitals stay."""
    words = list(_WORD.finditer(text))
    count, cuts = 0, [0]
    for other in others[:-1]:
        count += len(_WORD.findall(other))
        if 0 < count < len(words):
            after = words[count].start()
            space = text.find(" ", words[count - 1].end(), after)
            cuts.append(after if space < 0 else space)
        else:
            cuts.append(len(text) if count else 0)
    return [text[begin:end].strip() for begin, end in pairwise([*cuts, len(text)])]


def _put_into(line: Line, text: str) -> Line:
    """Return a recognized line with what a person has written; without words it stays as it is."""
    return line if text in ("", line.text) else rewritten(line, text)


def _cut_out(line: Line, whole: Line) -> list[Line] | None:
    """Put a line between what its words' times leave of a longer one before and after it."""
    words = whole.words
    if not words or not same_words(" ".join(str(word[2]) for word in words), whole.text):
        return None
    before = [word for word in words if (word[0] + word[1]) / 2 < line.start]
    after = [word for word in words if (word[0] + word[1]) / 2 > line.end]
    inside = words[len(before) : len(words) - len(after)]
    put = []
    if before:
        put.append(_of_words(whole, before))
    middle = replace(line, words=inside, speaker=line.speaker or whole.speaker)
    put.append(replace(line, speaker=middle.speaker, words=retimed_from(middle, inside)))
    if after:
        put.append(_of_words(whole, after))
    return put


def retimed_from(line: Line, words: Words) -> list[list[Any]]:
    """Return the words of a line's text with times that were recognized for other words."""
    said = " ".join(str(word[2]) for word in words)
    return retimed(replace(line, text=said, words=[list(word) for word in words]), line.text)


def _of_words(whole: Line, words: list[list[Any]]) -> Line:
    text = " ".join(str(word[2]).strip() for word in words)
    return replace(
        whole, start=words[0][0], end=words[-1][1], text=text, words=words, machine_text=None
    )


def _overlapping(lines: Sequence[Line], line: Line) -> tuple[int, int]:
    """Return the positions of the lines that share time with a line, and of the end of them."""
    inside = [
        position
        for position, other in enumerate(lines)
        if min(other.end, line.end) - max(other.start, line.start)
        > 0.5 * min(other.end - other.start, line.end - line.start)
    ]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _recognized(line: Line) -> str:
    return line.text if line.machine_text is None else line.machine_text


def _glued(before: str, after: str) -> str:
    return before + glue_between(before, after) + after if before and after else before or after


def _parted(text: str, share: float) -> tuple[str, str]:
    """Part a text near a share of its length, between two words where there are some."""
    middle = round(len(text) * share)
    spaces = [found.start() for found in re.finditer(r"\s", text)]
    at = min(spaces, key=lambda place: abs(place - middle)) if spaces else middle
    return text[:at].strip(), text[at:].strip()


def _words_within(words: Words, text: str) -> int:
    """Return how many words a text that begins with them holds."""
    left = len("".join(text.split()))
    for count, word in enumerate(words):
        if left <= 0:
            return count
        left -= len("".join(str(word[2]).split()))
    return len(words)


def _is_spaced(words: Words, text: str) -> bool:
    """Whether words are written with spaces between them."""
    return len(words) < 2 or len(text.split()) * 2 > len(words)


def _old_spans(words: Words, text: str) -> list[int | None]:
    """Return for each character of a text the word that it belongs to."""
    owners: list[int | None] = [None] * len(text)
    at = 0
    for number, word in enumerate(words):
        said = str(word[2]).strip()
        found = text.find(said, at) if said else -1
        if found < 0:
            continue
        owners[found : found + len(said)] = [number] * len(said)
        at = found + len(said)
    return owners


def _owners(old: str, new: str, spans: Sequence[int | None]) -> list[int | None]:
    """Return for each character of the new text the old word that it was part of."""
    owners: list[int | None] = [None] * len(new)
    if max(len(old), len(new)) <= _MAX_COMPARED:
        for same in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
            for step in range(same.size):
                owners[same.b + step] = spans[same.a + step]
        return owners
    olds, news = list(re.finditer(r"\S+", old)), list(re.finditer(r"\S+", new))
    matcher = SequenceMatcher(
        None, [each[0] for each in olds], [each[0] for each in news], autojunk=False
    )
    for same in matcher.get_matching_blocks():
        for step in range(same.size):
            begin, end = news[same.b + step].span()
            owner = spans[olds[same.a + step].start()]
            owners[begin:end] = [owner] * (end - begin)
    return owners


def _tokens(
    text: str, owners: Sequence[int | None], *, is_spaced: bool
) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text begin and end: between spaces, or where the owner changes."""
    for found in re.finditer(r"\S+", text):
        begin, end = found.span()
        if is_spaced:
            yield begin, end
            continue
        for at in range(begin + 1, end + 1):
            if at == end or owners[at] != owners[begin]:
                yield begin, at
                begin = at


def _times_of(words: Words, owners: Sequence[int | None]) -> tuple[float, float] | None:
    """Return the times of the old word that most of a new one was, if any of it was one."""
    known = [owner for owner in owners if owner is not None]
    if not known or len(known) * 2 < len(owners):
        return None
    return float(words[min(known)][0]), float(words[max(known)][1])


def _filled(
    line: Line, tokens: Sequence[str], times: Sequence[tuple[float, float] | None]
) -> list[list[Any]]:
    """Give words without times what lies between their neighbors; times never run back."""
    filled: list[list[Any]] = []
    at, position = line.start, 0
    while position < len(tokens):
        known = times[position]
        if known is not None:
            start = min(max(known[0], at), max(line.end, at))
            end = max(known[1], start)
            filled.append([round(start, 3), round(end, 3), tokens[position]])
            at, position = end, position + 1
            continue
        run = position
        while run < len(tokens) and times[run] is None:
            run += 1
        following = times[run] if run < len(tokens) else None
        until = max(following[0] if following else line.end, at)
        each = (until - at) / (run - position)
        for number in range(run - position):
            start = at + each * number
            filled.append([round(start, 3), round(start + each, 3), tokens[position + number]])
        at, position = until, run
    return filled
