"""The stage `embed`: chunks, and the passages inside them → vectors, 20 chunks a call.

A chunk is minutes long. So the passages of about 25 words that it holds are embedded in the
same call, and a search can tell at which second of the chunk something was said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import openai
from pgvector import HalfVector

from videos import chunking, embedding, ledger, runs, statuses, steps
from videos.claims import Claim
from videos.conf import conf
from videos.embedding import MAX_INPUTS, MAX_REQUEST_TOKENS, Embedded
from videos.exceptions import ClaimLost
from videos.models import Call, Chunk, Embedding, Segment, Step

CHUNKS_PER_CALL = 20


@dataclass(frozen=True)
class _Target:
    """A text to embed: a chunk, or the passage of it that begins at a segment."""

    chunk: Chunk
    segment_index: int | None
    text: str


@dataclass(frozen=True)
class _Batch:
    """The targets of one call: up to 20 chunks with their passages."""

    key: str
    chunks: list[Chunk]
    targets: list[_Target]


def embed(claim: Claim) -> None:
    """Embed what the run asks for, and pass the run on to `finish`.

    A run that was asked to embed again does all its chunks; any other, those without vectors.
    """
    revision, video = claim.run.revision, claim.run.video
    assert revision is not None and video is not None
    chunks = list(revision.chunks.order_by("index"))
    segments = list(revision.transcript.segments.all()) if revision.transcript else []
    named = claim.run.data.get("chunk_ids")
    if named:
        chunks = [chunk for chunk in chunks if str(chunk.pk) in named]
    have = _embedded_chunks(chunks)
    done_before = _done_batches(claim)
    again = bool(claim.run.data.get("again"))
    api = embedding.client()
    try:
        done = 0
        for batch in _batches(chunks, segments):
            claim.check()
            lacking = any(chunk.pk not in have for chunk in batch.chunks)
            if lacking or (again and batch.key not in done_before):
                _embed_batch(claim, api, batch)
            done += len(batch.chunks)
            with claim.guard():
                statuses.progressed(video.pk, claim.stage, done / len(chunks))
    finally:
        api.close()
    with claim.guard() as run:
        runs.advance(run, "finish")


def _embedded_chunks(chunks: list[Chunk]) -> set[object]:
    settings = conf()
    return set(
        Embedding.objects.filter(
            chunk__in=chunks,
            segment_index=None,
            model=settings.embedding_model,
            dimensions=settings.embedding_dimensions,
        ).values_list("chunk_id", flat=True)
    )


def _done_batches(claim: Claim) -> set[str]:
    done = Step.objects.filter(run=claim.run, stage=claim.stage, state=Step.State.DONE)
    return set(done.values_list("key", flat=True))


def _batches(chunks: list[Chunk], segments: list[Segment]) -> Iterator[_Batch]:
    """Group chunks in order: 20 at most, within the API's inputs and tokens."""
    group: list[Chunk] = []
    targets: list[_Target] = []
    tokens = 0
    for chunk in chunks:
        added = _targets(chunk, segments)
        # Passages repeat the chunk's text once more.
        cost = 2 * chunk.token_count
        full = (
            len(group) >= CHUNKS_PER_CALL
            or len(targets) + len(added) > MAX_INPUTS
            or tokens + cost > MAX_REQUEST_TOKENS
        )
        if group and full:
            yield _batch(group, targets)
            group, targets, tokens = [], [], 0
        group.append(chunk)
        targets += added
        tokens += cost
    if group:
        yield _batch(group, targets)


def _batch(group: list[Chunk], targets: list[_Target]) -> _Batch:
    return _Batch(f"chunks {group[0].index}-{group[-1].index}", list(group), targets)


def _targets(chunk: Chunk, segments: list[Segment]) -> list[_Target]:
    inside = segments[chunk.first_segment : chunk.last_segment + 1]
    grouped = chunking.passages(inside)[: MAX_INPUTS - 1]
    return [
        _Target(chunk, None, chunk.text),
        *(
            _Target(chunk, chunk.first_segment + position, text)
            for position, text in grouped
            if len(grouped) > 1
        ),
    ]


def _embed_batch(claim: Claim, api: openai.OpenAI, batch: _Batch) -> None:
    with steps.step(claim, batch.key) as step:
        with claim.guard() as run:
            (call,) = ledger.send_calls(run, [step], Call.Service.EMBEDDING, conf().embedding_model)
        try:
            texts = [target.text for target in batch.targets]
            embedded = claim.await_call(
                embedding.embed,
                api,
                texts,
                model=call.model,
                dimensions=conf().embedding_dimensions,
            )
        except Exception as error:
            ledger.fail_call(call.pk, error)
            raise
        booked = {"model": call.model, "tokens": embedded.tokens}
        try:
            with claim.guard() as run:
                _store(batch, embedded)
                steps.finish(run, step)
                ledger.answer_call(call.pk, used=True, **booked)  # type: ignore[arg-type]
        except ClaimLost:
            # The answer was paid, whether or not it could be kept.
            ledger.answer_call(call.pk, used=False, **booked)  # type: ignore[arg-type]
            raise


def _store(batch: _Batch, embedded: Embedded) -> None:
    """Write all vectors of a batch in one statement, over older ones of the same model."""
    settings = conf()
    Embedding.objects.bulk_create(
        [
            Embedding(
                chunk=target.chunk,
                segment_index=target.segment_index,
                model=settings.embedding_model,
                dimensions=settings.embedding_dimensions,
                vector=HalfVector(vector),
            )
            for target, vector in zip(batch.targets, embedded.vectors, strict=True)
        ],
        update_conflicts=True,
        unique_fields=["chunk", "segment_index", "model", "dimensions"],
        update_fields=["vector"],
    )
