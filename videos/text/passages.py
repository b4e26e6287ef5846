"""The passages of a chunk: about 25 words each, so that a hit can name the second. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from videos.text.captions import Cue
from videos.text.chunking import MAX_WORDS
from videos.text.counting import CHARACTERS_PER_WORD, count_words
from videos.text.glue import glue_between

PASSAGE_WORDS = 25
_PASSAGE_CHARACTERS = PASSAGE_WORDS * 2 * CHARACTERS_PER_WORD
#: Of a segment as long as a chunk they have the beginning.
_MOST_OF_A_SEGMENT = MAX_WORDS * CHARACTERS_PER_WORD


@dataclass(frozen=True)
class PassageText:
    """A passage before it is stored; its segments count as those of the chunk do."""

    text: str
    start: float
    end: float
    first_segment: int
    last_segment: int


class Cut(Protocol):
    """A chunk, stored or not."""

    text: str
    start: float
    end: float
    first_segment: int
    last_segment: int


def passages_of(cut: Cut, segments: Sequence[Cue]) -> list[PassageText]:
    """Return the passages of a chunk; `segments` are those of the whole transcript.

    Of a chunk that is a piece of one segment, it is the only one.
    """
    first, last = cut.first_segment, cut.last_segment
    if first == last:
        return [PassageText(cut.text, cut.start, cut.end, first, last)]
    grouped = in_passages(segments[first : last + 1])
    begins = [first + position for position, _ in grouped]
    ends = [*(begin - 1 for begin in begins[1:]), last]
    return [
        PassageText(
            text,
            segments[begin].start,
            max(segment.end for segment in segments[begin : end + 1]),
            begin,
            end,
        )
        for begin, end, (_, text) in zip(begins, ends, grouped, strict=True)
    ]


def in_passages(segments: Sequence[Cue]) -> list[tuple[int, str]]:
    """Group neighbouring segments to about 25 words: [(position of the first, text), …].

    They are embedded beside their chunk.
    """
    grouped: list[tuple[int, str]] = []
    pieces: list[str] = []
    first = words = characters = 0
    for position, segment in enumerate(segments):
        text = segment.text[:_MOST_OF_A_SEGMENT]
        if pieces and (words >= PASSAGE_WORDS or characters >= _PASSAGE_CHARACTERS):
            grouped.append((first, "".join(pieces)))
            pieces, words, characters = [], 0, 0
        if pieces:
            pieces.append(glue_between(pieces[-1], text))
        else:
            first = position
        pieces.append(text)
        characters += len(text)
        if characters < _PASSAGE_CHARACTERS:
            words += count_words(text)
    return [*grouped, (first, "".join(pieces))] if pieces else grouped
