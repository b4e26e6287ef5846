"""Cutting a transcript into chunks of 500 to 1000 words. Pure.

The cuts are those of least total cost, found by dynamic programming: sizes near the middle of
the range, ends at the ends of sentences or, where there are none, of segments. So the last
chunks are balanced, and a chunk under 500 words remains only where no cut avoids it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from videos.text.captions import Cue
from videos.text.counting import CHARACTERS_PER_WORD, estimate_tokens, milliwords
from videos.text.glue import glue_between
from videos.text.sentences import ends_sentence, pieces, sentences

MIN_WORDS = 500
MAX_WORDS = 1000
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
        return max(self.milliwords, len(self.text) * 1000 // CHARACTERS_PER_WORD)


def chunk(segments: Sequence[Cue]) -> list[ChunkText]:
    """Cut the segments' text into chunks; every word stands in exactly one, in order."""
    units = _joined_short_units(_units(segments))
    if not units:
        return []
    bounds = _cheapest_cuts(units)
    return [_chunk_of(units[begin:end], segments) for begin, end in pairwise(bounds)]


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
    return _path(begins)


def _path(begins: Sequence[int]) -> list[int]:
    """Return the cuts that end at the last unit; of each end, `begins` has the best begin."""
    cuts = [len(begins) - 1]
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
        said = sentences(segment.text.strip())
        for number, sentence in enumerate(said, start=1):
            ends_segment = number == len(said)
            counted = milliwords(sentence)
            parts = pieces(sentence, counted)
            for count, piece in enumerate(parts, start=1):
                is_end = count == len(parts) and ends_sentence(piece)
                inner = " " if piece[:1].isspace() else ""
                yield _Unit(
                    text=piece.strip(),
                    glue=glue_between(before, piece) if count == 1 else inner,
                    first_segment=position,
                    last_segment=position,
                    milliwords=counted if len(parts) == 1 else milliwords(piece),
                    cut_cost=_cut_cost(is_end, ends_segment and count == len(parts)),
                )
                before = piece


def _cut_cost(is_end: bool, ends_segment: bool) -> float:
    if is_end:
        return _CUT_AT_SENTENCE_AND_SEGMENT if ends_segment else _CUT_AT_SENTENCE
    return _CUT_AT_SEGMENT if ends_segment else _CUT_INSIDE


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
