"""Hits: of each passage that was found its best line, when it is said, and what stands around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Q

from videos.models import Chunk, Segment, Video
from videos.text import snippets
from videos.text.matching import Sought
from videos.text.ranking import Place

#: Segments before and after a passage that a snippet may be made of.
_RUN_UP, _RUN_ON = 4, 8


@dataclass(frozen=True)
class Why:
    """Why a moment was found."""

    #: The share of the query that is said there and around, 0 to 1, and what phrases add.
    words: float
    #: Its place among the nearest vectors, from 1; None where it is not among them.
    vector_rank: int | None


@dataclass(frozen=True)
class Hit:
    """A moment that fits the query; seconds are the segment's, higher scores are better."""

    video: Video
    segment: Segment
    chunk_index: int
    start: float
    end: float
    score: float
    snippet: str
    why: Why
    #: Where a player is to begin: with the sentence, or a second before the words.
    jump: float
    #: When the first of the words is said: where no words have times, the segment's start.
    second: float
    #: What was looked for: the query's words, and what misspelled ones may have been meant to be.
    looked_for: Sought = field(repr=False, compare=False)


def hits(
    best: Sequence[tuple[Place, float]],
    shares: Mapping[int, float],
    near: Sequence[int],
    sought: Sought,
    speaker: str = "",
) -> list[Hit]:
    """Return the hits of passages and their scores, best first.

    Args:
        best: passages with their scores.
        shares: what is said of the query in passages, by their ids.
        near: ids of passages by their vectors, the nearest first.
        sought: what is marked, and decides on the line.
        speaker: if given, only lines of theirs.
    """
    chosen = [passage for passage, _ in best]
    chunks = Chunk.objects.select_related("revision__video").in_bulk(
        [passage.chunk_id for passage in chosen]
    )
    texts = _segments(chosen, chunks)
    ranks = {key: rank for rank, key in enumerate(near, start=1)}
    found = []
    for passage, score in best:
        chunk = chunks.get(passage.chunk_id)
        segments = texts.get(passage.id)
        if chunk is None or not segments:  # Replaced meanwhile.
            continue
        inside = [
            position
            for position, each in enumerate(segments)
            if passage.first_segment <= each.index <= passage.last_segment
            and speaker.casefold() in ("", each.speaker.casefold())
        ]
        if not inside:
            continue
        position = inside[snippets.best_line([segments[each] for each in inside], sought)]
        segment = segments[position]
        second = snippets.second(segment, sought)
        found.append(
            Hit(
                video=chunk.revision.video,
                segment=segment,
                chunk_index=chunk.index,
                start=segment.start,
                end=segment.end,
                score=round(score, 6),
                snippet=snippets.snippet(segments, position),
                why=Why(round(shares.get(passage.id, 0.0), 6), ranks.get(passage.id)),
                jump=snippets.begin(segments, position, second),
                second=second,
                looked_for=sought,
            )
        )
    return found


def _segments(
    passages: Sequence[Place], chunks: Mapping[object, Chunk]
) -> dict[int, list[Segment]]:
    """Return the segments of each passage, and some around it, by one query."""
    wanted = Q()
    transcripts = {}
    for passage in passages:
        chunk = chunks.get(passage.chunk_id)
        if chunk is not None:
            transcripts[passage.id] = chunk.revision.transcript_id
            wanted |= Q(
                transcript=chunk.revision.transcript_id,
                index__range=(passage.first_segment - _RUN_UP, passage.last_segment + _RUN_ON),
            )
    if not transcripts:
        return {}
    rows: dict[object, dict[int, Segment]] = {}
    for segment in Segment.objects.filter(wanted).order_by("index"):
        rows.setdefault(segment.transcript_id, {})[segment.index] = segment
    return {
        passage.id: [
            rows[transcripts[passage.id]][index]
            for index in range(passage.first_segment - _RUN_UP, passage.last_segment + _RUN_ON + 1)
            if index in rows.get(transcripts[passage.id], {})
        ]
        for passage in passages
        if passage.id in transcripts
    }
