"""The rows of a revision's chunks: made of its segments, and made again where those changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from videos.models import Chunk, Embedding, Revision, Segment
from videos.pipeline import passages
from videos.text import chunking
from videos.text.chunking import ChunkText

_CHUNKS_PER_STATEMENT = 500
#: No revision has so many chunks: what moves takes this way past the others.
_ASIDE = 1_000_000
_REWRITTEN = (
    *("start", "end", "first_segment", "last_segment", "text", "word_count", "token_count"),
    "content_hash",
)


def chunk_rows(revision: Revision, texts: Sequence[ChunkText]) -> list[Chunk]:
    """Return the rows of a revision's chunks, to be stored."""
    return [
        Chunk(
            revision=revision,
            index=index,
            start=text.start,
            end=text.end,
            first_segment=text.first_segment,
            last_segment=text.last_segment,
            text=text.text,
            word_count=text.word_count,
            token_count=text.token_count,
            content_hash=text.content_hash,
        )
        for index, text in enumerate(texts)
    ]


def store(revision: Revision, texts: Sequence[ChunkText], segments: Sequence[Segment]) -> None:
    """Replace all chunks of a revision, which were cut from `segments`."""
    passages.hold(revision)
    if revision.chunked_at is not None:
        revision.chunks.all().delete()
    rows = chunk_rows(revision, texts)
    Chunk.objects.bulk_create(rows, batch_size=_CHUNKS_PER_STATEMENT)
    passages.store(revision, rows, segments, chunked_at=Now())


def rewrite(revision: Revision, changed: Collection[int]) -> bool:
    """Make those chunks again that hold changed segments (by index); tell whether any differs.

    The others stay as they are, with their vectors. Where a chunk gets too short or too long, it
    is cut anew, together with a neighbor if need be.
    """
    rows = list(revision.chunks.order_by("index"))
    before = {row.pk: row.content_hash for row in rows}
    for group in reversed(_sharing(rows)):
        first, last = group[0].first_segment, group[-1].last_segment
        if any(first <= index <= last for index in changed):
            _rewrite_group(revision, group, rows)
    return before != dict(revision.chunks.values_list("pk", "content_hash"))


def _sharing(rows: Sequence[Chunk]) -> list[list[Chunk]]:
    """Group chunks that share a segment with the next: they can only be cut anew together."""
    groups: list[list[Chunk]] = []
    for row in rows:
        if groups and groups[-1][-1].last_segment >= row.first_segment:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _rewrite_group(revision: Revision, group: Sequence[Chunk], rows: Sequence[Chunk]) -> None:
    texts = _texts(revision, group)
    is_short = any(text.word_count < chunking.MIN_WORDS for text in texts)
    if is_short and len(group) < len(rows):
        at = rows.index(group[0])
        wider = rows[max(at - 1, 0) : at + len(group) + (at == 0)]
        group, texts = wider, _texts(revision, wider)
    _put(revision, group, texts)


def _put(revision: Revision, group: Sequence[Chunk], texts: Sequence[ChunkText]) -> None:
    """Store texts as chunks in the place of others; what comes after moves."""
    assert revision.transcript is not None
    made = chunk_rows(revision, texts)
    kept, surplus = group[: len(made)], group[len(made) :]
    revision.chunks.filter(pk__in=[row.pk for row in surplus]).delete()
    if more := len(made) - len(group):
        later = revision.chunks.filter(index__gt=group[-1].index)
        later.update(index=F("index") + _ASIDE)
        far = revision.chunks.filter(index__gte=_ASIDE)
        far.update(index=F("index") - _ASIDE + more)
    for row, new in zip(kept, made, strict=False):
        for name in _REWRITTEN:
            setattr(row, name, getattr(new, name))
    Chunk.objects.bulk_update(kept, _REWRITTEN)
    added = made[len(kept) :]
    for number, row in enumerate(added, start=group[0].index + len(kept)):
        row.index = number
    Chunk.objects.bulk_create(added)
    touched = [row.pk for row in (*kept, *added)]
    elsewhere = Q(segment_index__lt=F("chunk__first_segment"))
    elsewhere |= Q(segment_index__gt=F("chunk__last_segment"))
    # Passages that belong to a neighbor now are embedded with it.
    Embedding.objects.filter(elsewhere, chunk__in=touched).delete()
    passages.rewrite(revision, [*kept, *added], list(revision.transcript.segments.all()))


def _texts(revision: Revision, group: Sequence[Chunk]) -> list[ChunkText]:
    """Chunk the segments of some chunks that follow each other."""
    begin, end = group[0].first_segment, group[-1].last_segment
    inside = Segment.objects.filter(
        transcript=revision.transcript_id, index__range=(begin, end)
    ).order_by("index")
    return [
        replace(
            text,
            first_segment=text.first_segment + begin,
            last_segment=text.last_segment + begin,
        )
        for text in chunking.chunk(list(inside))
    ]


def stale(revision: Revision, model: str, dimensions: int) -> QuerySet[Chunk]:
    """Return a revision's chunks whose text has changed since they were embedded."""
    embedded = Embedding.objects.filter(
        chunk__revision=revision,
        segment_index=None,
        model=model,
        dimensions=dimensions,
        text_hash=F("chunk__content_hash"),
    )
    return Chunk.objects.filter(revision=revision).exclude(pk__in=embedded.values("chunk_id"))
