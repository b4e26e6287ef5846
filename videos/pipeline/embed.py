"""The stage `embed`: chunks, and the passages inside them → vectors, 20 chunks a call.

A chunk is minutes long. So the passages of about 25 words that it holds are embedded in the
same call, and a search can tell at which second of the chunk something was said.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import openai
from pgvector import HalfVector

from videos.ai import embedding
from videos.ai.embedding import MAX_INPUT_TOKENS, MAX_INPUTS, MAX_REQUEST_TOKENS
from videos.durable import admission, paid_calls, runs, steps
from videos.durable.claims import Claim
from videos.durable.retries import EMBEDDING_RETRIES
from videos.durable.transactions import is_lost
from videos.exceptions import ChronosError, Rejected
from videos.local.turns import turn
from videos.models import Call, Chunk, Embedding, Segment, Step
from videos.pipeline import input_limits, statuses
from videos.pipeline.vectors import (
    Space,
    VectorRow,
    configured_space,
    encode,
    replace,
    serving_space,
    writers,
)
from videos.text import chunking
from videos.text.counting import estimate_tokens

logger = logging.getLogger(__name__)

CHUNKS_PER_CALL = 20

#: Vectors by the hashes of their texts.
Vectors = Mapping[str, HalfVector]


@dataclass(frozen=True)
class _Target:
    """A text to embed: a chunk, or the passage of it that begins at a segment."""

    chunk: Chunk
    segment_index: int | None
    text: str

    @cached_property
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
    def chunk_ids(self) -> list[UUID]:
        """The chunks' ids."""
        return [chunk.pk for chunk in self.chunks]

    def key(self, space: Space) -> str:
        """The name of its step."""
        return f"chunks {self.chunks[0].index}-{self.chunks[-1].index}, {space}"


def embed(claim: Claim) -> None:
    """Embed what the run asks for, and pass the run on to `finish`.

    A run that was asked to embed again does all its chunks; any other, those without vectors.
    While another model than the configured one still serves searches, chunks get its vectors,
    too: what is new must be found before all that is old has been embedded again.
    """
    revision = claim.run.revision
    assert revision is not None
    chunks = list(revision.chunks.order_by("index"))
    named = claim.run.data.get("chunk_ids")
    if named is not None:
        chunks = [chunk for chunk in chunks if str(chunk.pk) in named]
    segments = list(revision.transcript.segments.all()) if revision.transcript else []
    batches = list(_batches(chunks, segments))
    wanted = configured_space()
    serving = serving_space()
    api = embedding.client()
    try:
        _embed_in(wanted, claim, api, batches, again=bool(claim.run.data.get("embed_again")))
        if serving is not None and serving != wanted:
            _embed_for_searches(serving, claim, api, batches)
    finally:
        api.close()
    with claim.guard() as run:
        runs.advance(run, "finish")


def _embed_in(
    space: Space, claim: Claim, api: openai.OpenAI, batches: list[_Batch], *, again: bool
) -> None:
    video = claim.run.video
    assert video is not None
    have = _embedded_chunks([chunk for batch in batches for chunk in batch.chunks], space)
    done_before = _done_batches(claim)
    for number, batch in enumerate(batches, start=1):
        claim.check()
        admission.make_way(claim.run)
        lacking = any(chunk.pk not in have for chunk in batch.chunks)
        if lacking or (again and batch.key(space) not in done_before):
            _embed_batch(claim, api, batch, space)
        with claim.guard():
            statuses.progressed(video.pk, claim.stage, number / len(batches))


def _embed_for_searches(
    space: Space, claim: Claim, api: openai.OpenAI, batches: list[_Batch]
) -> None:
    """Embed for the model that serves; the run can do without, should the model be gone."""
    try:
        _embed_in(space, claim, api, batches, again=False)
    except steps.StepFailed as failed:
        for step, error in failed.failures:
            if not _is_hopeless(step, error):
                raise
            logger.warning("Run %s goes on without vectors of %s: %s", claim.run.pk, space, error)
            with claim.guard():
                steps.give_up(step, error)


def _is_hopeless(step: Step, error: Exception) -> bool:
    """Whether no other attempt of a step is worth it: its model is gone, or retries are used up."""
    if is_lost(error) or not isinstance(error, ChronosError) or error.waits_for:
        return False
    return error.permanent or step.failures >= EMBEDDING_RETRIES


def _embedded_chunks(chunks: list[Chunk], space: Space) -> set[object]:
    return set(
        Embedding.objects.filter(
            chunk__in=chunks,
            segment_index=None,
            model=space.model,
            dimensions=space.dimensions,
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
    if chunk.first_segment == chunk.last_segment:
        return [_Target(chunk, None, chunk.text)]
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


def _embed_batch(claim: Claim, api: openai.OpenAI, batch: _Batch, space: Space) -> None:
    with steps.step(claim, batch.key(space)) as step:
        known: Vectors = {} if _pays_again(claim) else _known_vectors(claim, batch.targets, space)
        by_text = {target.text_hash: target for target in batch.targets}
        unknown = [target for text, target in by_text.items() if text not in known]
        if not unknown:
            with turn(writers, claim.check):
                encoded = _encoded(batch.targets, known, space)
                with claim.guard() as run:
                    replace(batch.chunk_ids, space, encoded)
                    steps.finish(run, step, {"reused": len(batch.targets)})
            return
        _call(claim, api, step, batch, unknown, known, space)


def _call(
    claim: Claim,
    api: openai.OpenAI,
    step: Step,
    batch: _Batch,
    unknown: list[_Target],
    known: Vectors,
    space: Space,
) -> None:
    """Have the texts embedded whose vectors are not known, and store all of the batch.

    Where the server takes fewer texts at once, several calls share them, and what each returns
    is stored with it. The chunks' own vectors, by which a chunk counts as embedded, come last.
    """
    vectors = dict(known)
    left = sorted(unknown, key=lambda target: target.segment_index is None)
    most = input_limits.max_inputs(space.model)
    is_learned = False
    while left:
        asked = left[:most]
        is_last = len(asked) == len(left)
        with nullcontext(step) if is_last else _step_of_some(claim, batch, asked, space) as its:
            if its.state == Step.State.DONE:
                # By an attempt of before: it may hold another number of texts.
                assert its.result is not None, "it was finished with how many it holds"
                asked = left[: its.result["texts"]]
                vectors |= _known_vectors(claim, asked, space)
                left = left[len(asked) :]
                continue
            try:
                call, embedded = paid_calls.perform(
                    claim,
                    its,
                    Call.Service.EMBEDDING,
                    space.model,
                    math.ceil(batch.tokens * len(asked) / len(unknown)),
                    embedding.embed,
                    api,
                    [target.text for target in asked],
                    dimensions=space.dimensions,
                )
            except Rejected as error:
                if len(asked) == 1 or not _says_too_many(error):
                    raise
                most, is_learned = len(asked) // 2, True
                continue
            left = left[most:]
            vectors |= {
                target.text_hash: HalfVector(vector)
                for target, vector in zip(asked, embedded.vectors, strict=True)
            }
            # Whatever becomes of the claim meanwhile: the answer is paid, and is to be booked.
            some = None if is_last else asked
            with turn(writers):
                _store(claim, call, its, batch, some, vectors, space, embedded)
    if is_learned:
        input_limits.remember(space.model, most)


def _says_too_many(error: Rejected) -> bool:
    """Whether a refusal may be about the number of texts (text-embeddings-inference, Infinity)."""
    return error.http_status in (413, 422) or "batch" in str(error).lower()


def _step_of_some(
    claim: Claim, batch: _Batch, asked: list[_Target], space: Space
) -> AbstractContextManager[Step]:
    """Do a step for some of a batch's texts; with fewer of them it is the same step."""
    return steps.step(claim, f"{batch.key(space)}, from {asked[0].text_hash[:8]}")


def _store(
    claim: Claim,
    call: Call,
    step: Step,
    batch: _Batch,
    some: list[_Target] | None,
    vectors: Vectors,
    space: Space,
    embedded: embedding.Embedded,
) -> None:
    """Store some targets' vectors, or those of the whole batch, and finish the step."""
    targets = None if some is None else [(each.chunk.pk, each.segment_index) for each in some]
    with paid_calls.booked_if_lost(call, tokens=embedded.tokens):
        encoded = _encoded(batch.targets if some is None else some, vectors, space)

    def store(settled: paid_calls.Settled) -> None:
        replace(batch.chunk_ids, space, encoded, targets)
        steps.finish(settled.run, step, None if some is None else {"texts": len(some)})

    paid_calls.settle(claim, call, store, tokens=embedded.tokens)


def _encoded(targets: Sequence[_Target], vectors: Vectors, space: Space) -> bytes:
    rows = [
        VectorRow(
            target.chunk.pk, target.segment_index, target.text_hash, vectors[target.text_hash]
        )
        for target in targets
    ]
    return encode(rows, space)


def _pays_again(claim: Claim) -> bool:
    """Whether the run was asked to embed again what has vectors."""
    return bool(claim.run.data.get("embed_again") or claim.run.data.get("force"))


def _known_vectors(claim: Claim, targets: Sequence[_Target], space: Space) -> dict[str, HalfVector]:
    """Return the vectors that texts of this creator have already, by the texts' hashes."""
    rows = Embedding.objects.filter(
        text_hash__in={target.text_hash for target in targets},
        model=space.model,
        dimensions=space.dimensions,
        chunk__revision__video__creator=claim.run.creator_id,
    )
    known = rows.distinct("text_hash").values_list("text_hash", "vector")
    return {text_hash: HalfVector(vector) for text_hash, vector in known}
