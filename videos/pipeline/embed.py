"""The stage `embed`: chunks, and the passages inside them → vectors, 20 chunks a call.

A chunk is minutes long. So the passages of about 25 words that it holds are embedded in the
same call, and a search can tell at which second of the chunk something was said.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F, QuerySet
from pgvector import HalfVector

from videos.ai import providers
from videos.durable import admission, paid_calls, runs, steps
from videos.durable.claims import Claim
from videos.durable.paid_calls import PaidCall
from videos.durable.retries import Fail
from videos.durable.transactions import is_lost
from videos.exceptions import ChronosError, Rejected
from videos.local.semaphores import acquired
from videos.models import Call, Chunk, Embedding, Run, Step
from videos.pipeline import batches, statuses
from videos.pipeline.batches import Batch, Target
from videos.pipeline.vectors import (
    Space,
    VectorRow,
    configured_space,
    encode,
    replace,
    serving_space,
    with_spaces,
    writers,
)

if TYPE_CHECKING:
    from videos.ai.embedding import Embedded

logger = logging.getLogger(__name__)

#: Retries of a batch's call.
RETRIES = 2

#: Vectors by the hashes of their texts.
Vectors = dict[str, HalfVector]
#: Moves a claimed run on, inside a guard.
Then = Callable[[Run], object]


def embed(claim: Claim) -> None:
    """Embed what the run asks for, and pass the run on.

    A run that was asked to embed again does all its chunks; any other, those without vectors.
    While another model than the configured one still serves searches, chunks get its vectors,
    too: what is new must be found before all that is old has been embedded again.
    """
    again = bool(claim.run.data.get("embed_again"))
    advance = partial(runs.advance, claim)
    with closing(providers.embedder()) as embedder:
        _embed_in_all_spaces(claim, embedder, _asked_for(claim), again=again, then=advance)


def embed_changed(claim: Claim, changed: QuerySet[Chunk]) -> None:
    """Embed chunks of the run's revision whose texts have changed; the run goes on as it was.

    What stayed of their passages keeps its vectors, and costs nothing.
    """
    chunks = list(with_spaces(changed.order_by("index")))
    with closing(providers.embedder()) as embedder:
        _embed_in_all_spaces(claim, embedder, chunks, again=True, is_changed=True, then=None)


def _embed_in_all_spaces(
    claim: Claim,
    embedder: providers.Embedder,
    chunks: Sequence[Chunk],
    *,
    again: bool,
    then: Then | None,
    is_changed: bool = False,
) -> None:
    """Embed chunks, and do `then` once they are, in the transaction that stores the last vectors.

    For the model that still serves searches, those that lack vectors, or all that `is_changed`.
    Where nothing was to be stored, or that failed, or what a search needs came last, it has a
    transaction of its own.
    """
    revision = claim.run.revision
    assert revision is not None
    wanted, serving = configured_space(), serving_space()
    segments = list(revision.transcript.segments.all()) if revision.transcript else []
    grouped = list(batches.group(chunks, segments, embedder.limits))
    if serving is None or serving == wanted:
        is_done = _Embedding(claim, embedder, wanted).embed(grouped, again=again, then=then)
    else:
        _Embedding(claim, embedder, wanted).embed(grouped, again=again)
        _embed_for_searches(_Embedding(claim, embedder, serving), grouped, again=is_changed)
        is_done = False
    if then is not None and not is_done:
        with claim.guard() as run:
            then(run)


def _asked_for(claim: Claim) -> list[Chunk]:
    revision = claim.run.revision
    assert revision is not None
    chunks = list(with_spaces(revision.chunks.order_by("index")))
    named = claim.run.data.get("chunk_ids")
    return chunks if named is None else [chunk for chunk in chunks if str(chunk.pk) in named]


def _embed_for_searches(embedding: _Embedding, grouped: list[Batch], *, again: bool) -> None:
    """Embed for the model that serves; the run can do without, should the model be gone."""
    try:
        embedding.embed(grouped, again=again)
    except steps.StepFailed as failed:
        for step, error in failed.failures:
            if is_lost(error) or not isinstance(error, ChronosError):
                raise
            if not isinstance(steps.decision(step.failures, error, RETRIES), Fail):
                raise
            logger.warning("A run goes on without vectors of %s: %s", embedding.space, error)
            with embedding.claim.guard():
                steps.give_up(step, error)


class _Embedding:
    """The vectors of one run in one space."""

    def __init__(self, claim: Claim, embedder: providers.Embedder, space: Space) -> None:
        self.claim = claim
        self.space = space
        self._embedder = embedder
        #: What the transaction does besides that stores the last vectors.
        self._then: Then | None = None
        self._has_followed = False

    def embed(self, grouped: list[Batch], *, again: bool, then: Then | None = None) -> bool:
        """Embed batches whose chunks lack vectors; `again`: all that the run has not done yet.

        Returns whether `then` was done with the last of them.
        """
        claim = self.claim
        done_before = self._done_steps() if again else set()
        for number, batch in enumerate(grouped, start=1):
            claim.check()
            admission.yield_if_preempted(claim.run)
            is_last = number == len(grouped)
            self._then = then if is_last else None
            if batch.lacks(self.space) or (again and batch.key(self.space) not in done_before):
                self._embed_batch(batch)
            if is_last:  # What follows shows the progress.
                return self._has_followed
            with claim.guard() as run:
                if run.video_id is not None:
                    statuses.progressed(run.video_id, claim.stage, number / len(grouped))
        return False

    def _done_steps(self) -> set[str]:
        run, stage = self.claim.run, self.claim.stage
        done = Step.objects.filter(run=run, stage=stage, state=Step.State.DONE)
        return set(done.values_list("key", flat=True))

    def _embed_batch(self, batch: Batch) -> None:
        with steps.planned_step(self.claim, batch.key(self.space)) as step:
            known = {} if self._pays_again() else self._known_vectors(batch.targets)
            by_text = {target.text_hash: target for target in batch.targets}
            unknown = [target for text, target in by_text.items() if text not in known]
            if unknown:
                self._embed_unknown(step, batch, unknown, known)
                return
            with acquired(writers, self.claim.check):
                encoded = self._encoded(batch.targets, known)
                with self.claim.guard() as run:
                    replace(batch.chunk_ids, self.space, encoded)
                    steps.finish(run, step, {"reused": len(batch.targets)})
                    self._follow(run)

    def _follow(self, run: Run) -> None:
        """Do what follows the last vectors, in the guard that stores them.

        Whatever is wrong with it: the vectors are paid, and stay. It is tried once more by itself.
        """
        if self._then is None:
            return
        self._has_followed = False
        try:
            with transaction.atomic():
                self._then(run)
        except Exception as error:
            if is_lost(error):
                raise
            logger.warning("A run was not moved on with its vectors: %s", error)
        else:
            self._has_followed = True

    def _pays_again(self) -> bool:
        """Whether the run was asked to embed again what has vectors."""
        data = self.claim.run.data
        return bool(data.get("embed_again") or data.get("force"))

    def _embed_unknown(
        self, step: Step, batch: Batch, unknown: list[Target], vectors: Vectors
    ) -> None:
        """Have the texts embedded whose vectors are not known, and store all of the batch.

        Where the server takes fewer texts at once, several calls share them, and what each
        returns is stored with it. The chunks' own vectors, by which a chunk counts as embedded,
        come last.
        """
        left = sorted(unknown, key=lambda target: target.segment_index is None)
        limit = batches.max_inputs(self.space.model)
        is_learned = False
        while left:
            asked = left[:limit]
            is_last = len(asked) == len(left)
            with nullcontext(step) if is_last else self._step_of_some(batch, asked) as its:
                if its.state == Step.State.DONE:
                    asked = self._done_before(its, left)
                    vectors |= self._known_vectors(asked)
                else:
                    try:
                        call, answer = self._call(its, batch, asked, len(unknown))
                    except Rejected as error:
                        if len(asked) == 1 or not _says_too_many(error):
                            raise
                        limit, is_learned = len(asked) // 2, True
                        continue
                    vectors |= {
                        target.text_hash: HalfVector(vector)
                        for target, vector in zip(asked, answer.vectors, strict=True)
                    }
                    self._store(call, its, batch, None if is_last else asked, vectors, answer)
                left = left[len(asked) :]
        if is_learned:
            batches.remember_max_inputs(self.space.model, limit)

    def _step_of_some(self, batch: Batch, asked: list[Target]) -> AbstractContextManager[Step]:
        """Do a step for some of a batch's texts; with fewer of them it is the same step."""
        key = f"{batch.key(self.space)}, from {asked[0].text_hash[:8]}"
        return steps.step(self.claim, key)

    @staticmethod
    def _done_before(step: Step, left: list[Target]) -> list[Target]:
        """Return what a step of an earlier attempt holds, which may be another number of texts."""
        assert step.result is not None, "it was finished with how many it holds"
        return left[: step.result["texts"]]

    def _call(
        self, step: Step, batch: Batch, asked: list[Target], of_unknown: int
    ) -> tuple[Call, Embedded]:
        texts = [target.text for target in asked]
        tokens = math.ceil(batch.tokens * len(asked) / of_unknown)
        ask = partial(self._embedder.embed, texts, dimensions=self.space.dimensions)
        paid = PaidCall(Call.Service.EMBEDDING, self.space.model, tokens, ask)
        return paid_calls.make(self.claim, step, paid)

    def _store(
        self,
        call: Call,
        step: Step,
        batch: Batch,
        some: list[Target] | None,
        vectors: Vectors,
        answer: Embedded,
    ) -> None:
        """Store some targets' vectors, or those of the whole batch, and finish the step.

        Whatever becomes of the claim meanwhile: the answer is paid, and is to be booked.
        """
        targets = None if some is None else [(each.chunk.pk, each.segment_index) for each in some]

        def store(settled: paid_calls.Settled) -> None:
            replace(batch.chunk_ids, self.space, encoded, targets)
            steps.finish(settled.run, step, None if some is None else {"texts": len(some)})
            if some is None:
                self._follow(settled.run)

        with acquired(writers):
            with paid_calls.booked_if_lost(call, **answer.measured):
                encoded = self._encoded(batch.targets if some is None else some, vectors)
            paid_calls.settle(self.claim, call, store, **answer.measured)

    def _encoded(self, targets: Sequence[Target], vectors: Vectors) -> bytes:
        rows = [
            VectorRow(
                target.chunk.pk,
                target.segment_index,
                target.text_hash,
                self.space.shortened(vectors[target.text_hash], target.segment_index),
            )
            for target in targets
        ]
        return encode(rows, self.space)

    def _known_vectors(self, targets: Sequence[Target]) -> Vectors:
        """Return the vectors that texts of this creator have already, by the texts' hashes.

        Passages' may be shortened, and do not do for a chunk of the same text: whole ones go first.
        """
        rows = Embedding.objects.filter(
            text_hash__in={target.text_hash for target in targets},
            model=self.space.model,
            dimensions=self.space.dimensions,
            chunk__revision__video__creator=self.claim.run.creator_id,
        )
        in_order = rows.order_by("text_hash", F("segment_index").asc(nulls_first=True))
        known = dict(in_order.distinct("text_hash").values_list("text_hash", "vector"))
        found = {text_hash: HalfVector(vector) for text_hash, vector in known.items()}
        whole = {target.text_hash for target in targets if target.segment_index is None}
        return {
            text_hash: vector
            for text_hash, vector in found.items()
            if text_hash not in whole or vector.dimensions() == self.space.dimensions
        }


def _says_too_many(error: Rejected) -> bool:
    """Whether a refusal may be about the number of texts (text-embeddings-inference, Infinity)."""
    return error.http_status in (413, 422) or "batch" in str(error).lower()
