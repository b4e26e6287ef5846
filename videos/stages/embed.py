"""The stage `embed`: chunks, and the passages inside them → vectors, 20 chunks a call.

A chunk is minutes long. So the passages of about 25 words that it holds are embedded in the
same call, and a search can tell at which second of the chunk something was said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import openai
from pgvector import HalfVector

from videos import admission, calls, chunking, embedding, runs, statuses, steps
from videos.claims import Claim
from videos.conf import conf
from videos.counting import estimate_tokens
from videos.embedding import MAX_INPUT_TOKENS, MAX_INPUTS, MAX_REQUEST_TOKENS
from videos.models import Call, Chunk, Embedding, Segment, Step

CHUNKS_PER_CALL = 20

#: Vectors by the hashes of their texts.
Vectors = Mapping[str, Any]


@dataclass(frozen=True)
class _Target:
    """A text to embed: a chunk, or the passage of it that begins at a segment."""

    chunk: Chunk
    segment_index: int | None
    text: str

    @property
    def text_hash(self) -> str:
        """What tells this text from any other."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class _Batch:
    """The targets of one call: up to 20 chunks with their passages."""

    chunks: list[Chunk]
    targets: list[_Target]
    #: An estimate, on the high side.
    tokens: int

    @property
    def key(self) -> str:
        """The name of its step."""
        model, dimensions = conf().embedding_model, conf().embedding_dimensions
        return f"chunks {self.chunks[0].index}-{self.chunks[-1].index}, {model}/{dimensions}"


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
    again = bool(claim.run.data.get("embed_again"))
    api = embedding.client()
    try:
        done = 0
        for batch in _batches(chunks, segments):
            claim.check()
            admission.make_way(claim.run)
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
        tokens_of_text = estimate_tokens(chunk.text)
        cost = min(tokens_of_text, MAX_INPUT_TOKENS) + tokens_of_text
        full = (
            len(group) >= CHUNKS_PER_CALL
            or len(targets) + len(added) > MAX_INPUTS
            or tokens + cost > MAX_REQUEST_TOKENS
        )
        if group and full:
            yield _Batch(group, targets, tokens)
            group, targets, tokens = [], [], 0
        group.append(chunk)
        targets += added
        tokens += cost
    if group:
        yield _Batch(group, targets, tokens)


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
        known: dict[str, Any] = {} if _pays_again(claim) else _known_vectors(claim, batch)
        by_text = {target.text_hash: target for target in batch.targets}
        unknown = [target for text, target in by_text.items() if text not in known]
        if not unknown:
            with claim.guard() as run:
                _store(batch.targets, known)
                steps.finish(run, step, {"reused": len(batch.targets)})
            return
        _call(claim, api, step, batch, unknown, known)


def _call(
    claim: Claim,
    api: openai.OpenAI,
    step: Step,
    batch: _Batch,
    unknown: list[_Target],
    known: dict[str, Any],
) -> None:
    """Have the texts embedded whose vectors are not known, and store all of the batch."""
    model = conf().embedding_model
    call, embedded = calls.perform(
        claim,
        step,
        Call.Service.EMBEDDING,
        model,
        batch.tokens,
        embedding.embed,
        api,
        [target.text for target in unknown],
        dimensions=conf().embedding_dimensions,
    )
    new = {
        target.text_hash: vector for target, vector in zip(unknown, embedded.vectors, strict=True)
    }
    with calls.settling(claim, call, tokens=embedded.tokens) as settled:
        _store(batch.targets, known | new)
        steps.finish(settled.run, step)


def _pays_again(claim: Claim) -> bool:
    """Whether the run was asked to embed again what has vectors."""
    return bool(claim.run.data.get("embed_again") or claim.run.data.get("force"))


def _known_vectors(claim: Claim, batch: _Batch) -> dict[str, Any]:
    """Return the vectors that texts of this creator have already, by the texts' hashes."""
    settings = conf()
    rows = Embedding.objects.filter(
        text_hash__in={target.text_hash for target in batch.targets},
        model=settings.embedding_model,
        dimensions=settings.embedding_dimensions,
        chunk__revision__video__creator=claim.run.creator_id,
    )
    return dict(rows.distinct("text_hash").values_list("text_hash", "vector"))


def _store(targets: list[_Target], vectors: Vectors) -> None:
    """Write all vectors of a batch in one statement, over older ones of the same model."""
    settings = conf()
    Embedding.objects.bulk_create(
        [
            Embedding(
                chunk=target.chunk,
                segment_index=target.segment_index,
                model=settings.embedding_model,
                dimensions=settings.embedding_dimensions,
                vector=HalfVector(vectors[target.text_hash]),
                text_hash=target.text_hash,
            )
            for target in targets
        ],
        update_conflicts=True,
        unique_fields=["chunk", "segment_index", "model", "dimensions"],
        update_fields=["vector", "text_hash"],
    )
