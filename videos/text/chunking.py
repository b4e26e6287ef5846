"""Cutting a transcript into chunks of 500 to 1000 words. Pure.

The cuts are those of least total cost, found by dynamic programming: sizes near the middle of
the range, ends at the ends of sentences or, where there are none, of segments. So the last
chunks are balanced, and a chunk under 500 words remains only where no cut avoids it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

import regex

from videos.text.captions import Cue
from videos.text.counting import UNSPACED_SCRIPTS, count_words, estimate_tokens, milliwords, weights

MIN_WORDS = 500
MAX_WORDS = 1000
PASSAGE_WORDS = 25
#: What a word has at the most: so texts of hardly any words are bounded, too, such as "! ! !" and
#: names of a thousand characters. A tsvector holds 1 MB (PostgreSQL docs, 12.11).
_CHARACTERS_PER_WORD = 25
_PASSAGE_CHARACTERS = PASSAGE_WORDS * 2 * _CHARACTERS_PER_WORD

_SCRIPT_WITHOUT_SPACES = regex.compile(f"[{UNSPACED_SCRIPTS}]")
_SENTENCE_END = regex.compile(r"[.!?…。！？؟۔।॥။።][\"'”’»)\]」』]*$")
_SENTENCE_BREAK = regex.compile(
    # A run of quotes without an end must not be looked through from each of them.
    r"(?<=[.!?…؟۔।॥][\"'”’»)\]]{0,3})\s+|(?<=[。！？။።][」』”]{0,3})(?=[^」』”。！？\s])\s*"
)
#: The same in ASCII, in a fifth of the time.
_ASCII_BREAK = re.compile(r"[.!?][\"')\]]{0,3}([ \t-\r]+)")
#: Without this there is none of those: to look behind each space takes many times as long.
_MAY_BREAK = regex.compile(r"[.!?…؟۔।॥][\"'”’»)\]]{0,3}\s|[。！？။።]")

#: An unbroken sentence longer than this may be cut inside, at about every _PIECE_WORDS words.
_LONG_SENTENCE_WORDS = 100
_PIECE_WORDS = 50
#: Shorter units are joined with the next before the search, to bound its cost.
_SHORT_UNIT_WORDS = 8

_MIDDLE = (MIN_WORDS + MAX_WORDS) / 2
#: What a cut costs, beside the deviation from the middle of the range (0 to 1).
_CUT_AT_SENTENCE_AND_SEGMENT = 0.0
_CUT_AT_SENTENCE = 0.1
_CUT_AT_SEGMENT = 2.0
_CUT_INSIDE = 10.0
_TOO_SHORT = 100.0


@dataclass(frozen=True)
class ChunkText:
    """A chunk before it is stored; segments are positions in the list that was chunked."""

    text: str
    start: float
    end: float
    first_segment: int
    last_segment: int
    word_count: int

    @property
    def token_count(self) -> int:
        """Tokens of an embedding model, estimated on the high side."""
        return estimate_tokens(self.text)

    @property
    def content_hash(self) -> str:
        """Hex sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


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


class _Unit(NamedTuple):
    """Text that is never cut; `glue` stands before it, `cut_cost` is the price of a cut after."""

    text: str
    glue: str
    first_segment: int
    last_segment: int
    milliwords: int
    cut_cost: float

    @property
    def size(self) -> int:
        """Thousandths of a word, or what its characters would be in words of 25 if that is more."""
        return max(self.milliwords, len(self.text) * 1000 // _CHARACTERS_PER_WORD)


def chunk(segments: Sequence[Cue]) -> list[ChunkText]:
    """Cut the segments' text into chunks; every word stands in exactly one, in order."""
    units = _joined_short_units(_units(segments))
    if not units:
        return []
    bounds = _cheapest_cuts(units)
    return [_chunk_of(units[begin:end], segments) for begin, end in pairwise(bounds)]


def passages_of(cut: Cut, segments: Sequence[Cue]) -> list[PassageText]:
    """Return the passages of a chunk; `segments` are those of the whole transcript.

    Of a chunk that is a piece of one segment, it is the only one.
    """
    first, last = cut.first_segment, cut.last_segment
    if first == last:
        return [PassageText(cut.text, cut.start, cut.end, first, last)]
    grouped = passages(segments[first : last + 1])
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


def ends_sentence(text: str) -> bool:
    """Whether a sentence ends with the text."""
    said = text.rstrip()
    # Most texts end with a letter.
    return not said[-1:].isalnum() and _SENTENCE_END.search(said) is not None


def passages(segments: Sequence[Cue]) -> list[tuple[int, str]]:
    """Group neighbouring segments to about 25 words: [(position of the first, text), …].

    Passages are embedded beside their chunk, so that a hit can name the second. Of a segment as
    long as a chunk they have the beginning.
    """
    grouped: list[tuple[int, str]] = []
    pieces: list[str] = []
    first = words = characters = 0
    for position, segment in enumerate(segments):
        text = segment.text[: MAX_WORDS * _CHARACTERS_PER_WORD]
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


def _cheapest_cuts(units: Sequence[_Unit]) -> list[int]:
    """Return the positions of the cuts, 0 and the end included, by dynamic programming."""
    sums = [0, *accumulate(unit.size for unit in units)]
    costs = [0.0]
    begins = [0]
    #: Of chunks that end here, those that begin from `first` on are not too long, and those from
    #: `short` on too short.
    first = short = 0
    #: The cheapest begin so far. What lies before it stays dearer: the cost grows with the square
    #: of the deviation, so that a longer chunk only loses more by each word that is added.
    cheapest = 0
    for end in range(1, len(units) + 1):
        total = sums[end]
        while first < end - 1 and total - sums[first] > MAX_WORDS * 1000:
            first += 1
        short = max(short, first)
        while short < end and total - sums[short] >= MIN_WORDS * 1000:
            short += 1
        is_last = end == len(units)
        cut_cost = 0.0 if is_last else units[end - 1].cut_cost
        lowest, chosen = math.inf, end - 1
        # All that there is may be as short as it is.
        for begin in range(
            max(first, cheapest), max(short, 1) if is_last and first == 0 else short
        ):
            # Half a hundred times for each sentence: a call would take as long as all the rest.
            deviation = ((total - sums[begin]) / 1000 - _MIDDLE) / (MAX_WORDS - _MIDDLE)
            cost = costs[begin] + cut_cost + deviation * deviation
            if cost < lowest:
                lowest, chosen = cost, begin
        if lowest < math.inf:
            cheapest = chosen
        if lowest > min(costs[short:end], default=math.inf) + cut_cost + _TOO_SHORT:
            for begin in range(max(short, int(is_last)), end):
                cost = costs[begin] + cut_cost + _short_cost((total - sums[begin]) / 1000)
                if cost < lowest:
                    lowest, chosen = cost, begin
        costs.append(lowest)
        begins.append(chosen)
    cuts = [len(units)]
    while cuts[-1]:
        cuts.append(begins[cuts[-1]])
    return cuts[::-1]


def _short_cost(words: float) -> float:
    deviation = (words - _MIDDLE) / (MAX_WORDS - _MIDDLE)
    return _TOO_SHORT + (MIN_WORDS - words) + deviation * deviation


def _chunk_of(units: Sequence[_Unit], segments: Sequence[Cue]) -> ChunkText:
    text = units[0].text + "".join(unit.glue + unit.text for unit in units[1:])
    first, last = units[0].first_segment, units[-1].last_segment
    return ChunkText(
        text=text,
        start=segments[first].start,
        end=max(segment.end for segment in segments[first : last + 1]),
        first_segment=first,
        last_segment=last,
        word_count=max(1, round(sum(unit.milliwords for unit in units) / 1000)),
    )


def _units(segments: Sequence[Cue]) -> Iterator[_Unit]:
    """Yield the sentences of every segment, long ones in pieces, and what a cut after costs."""
    before = ""
    for position, segment in enumerate(segments):
        sentences = _sentences(segment.text.strip())
        for number, sentence in enumerate(sentences, start=1):
            ends_segment = number == len(sentences)
            counted = milliwords(sentence)
            pieces = _pieces(sentence, counted)
            for count, piece in enumerate(pieces, start=1):
                is_end = count == len(pieces) and ends_sentence(piece)
                glue = glue_between(before, piece) if count == 1 else _inner_glue(sentence, piece)
                yield _Unit(
                    text=piece.strip(),
                    glue=glue,
                    first_segment=position,
                    last_segment=position,
                    milliwords=counted if len(pieces) == 1 else milliwords(piece),
                    cut_cost=_cut_cost(is_end, ends_segment and count == len(pieces)),
                )
                before = piece


def _sentences(said: str) -> list[str]:
    """Return the sentences of a text, which has no space around it."""
    if not said.isascii():
        split = _SENTENCE_BREAK.split(said) if _MAY_BREAK.search(said) else [said]
        return [text for text in split if text]
    sentences, begin = [], 0
    for gap in _ASCII_BREAK.finditer(said):
        sentences.append(said[begin : gap.start(1)])
        begin = gap.end()
    return [*sentences, said[begin:]] if begin < len(said) else sentences


def _cut_cost(is_end: bool, ends_segment: bool) -> float:
    if is_end:
        return _CUT_AT_SENTENCE_AND_SEGMENT if ends_segment else _CUT_AT_SENTENCE
    return _CUT_AT_SEGMENT if ends_segment else _CUT_INSIDE


def _pieces(sentence: str, counted: int) -> list[str]:
    """Cut an overlong sentence at word boundaries; a leading space stays with its piece.

    `counted` are its thousandths of a word.
    """
    is_short = len(sentence) <= _LONG_SENTENCE_WORDS * _CHARACTERS_PER_WORD
    if is_short and counted <= _LONG_SENTENCE_WORDS * 1000:
        return [sentence]
    pieces, begin, counted = [], 0, 0
    for start, weight in weights(sentence):
        if counted >= _PIECE_WORDS * 1000:
            space = start > 0 and sentence[start - 1].isspace()
            pieces.append(sentence[begin : start - space])
            begin, counted = start - space, 0
        counted += weight
    most = _PIECE_WORDS * 2 * _CHARACTERS_PER_WORD
    return [
        piece[at : at + most]
        for piece in [*pieces, sentence[begin:]]
        for at in range(0, len(piece), most)
    ]


def _joined_short_units(units: Iterator[_Unit]) -> list[_Unit]:
    joined: list[_Unit] = []
    for unit in units:
        last = joined[-1] if joined else None
        if last and (
            last.size < _SHORT_UNIT_WORDS * 1000 // 2
            or (last.size < _SHORT_UNIT_WORDS * 1000 and last.cut_cost >= _CUT_AT_SEGMENT)
        ):
            joined[-1] = _Unit(
                last.text + unit.glue + unit.text,
                last.glue,
                last.first_segment,
                unit.last_segment,
                last.milliwords + unit.milliwords,
                unit.cut_cost,
            )
        else:
            joined.append(unit)
    return joined


def glued(texts: Sequence[str]) -> str:
    """Return texts that follow each other as one."""
    joined = ""
    for text in texts:
        joined += glue_between(joined, text) + text if text else ""
    return joined


def glue_between(before: str, after: str) -> str:
    """Return what stands between two texts: nothing inside a script that uses no spaces."""
    if not before:
        return ""
    if after[:1].isascii():
        return " "
    unspaced = _SCRIPT_WITHOUT_SPACES
    punctuation = before[-1] in "。！？、，」』"
    if (unspaced.match(before[-1]) or punctuation) and unspaced.match(after[0]):
        return ""
    return " "


def _inner_glue(sentence: str, piece: str) -> str:
    return " " if piece[:1].isspace() else ""
