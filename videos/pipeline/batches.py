"""What is embedded in one call: up to 20 chunks, with the passages inside them.

A passage of 25 words says little by itself: it is embedded with the one before and the one after,
which found more in the questions of docs/figures.md than the passages alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from videos.conf import conf
from videos.models import Chunk, ProbedModel, Segment
from videos.pipeline.vectors import Space
from videos.text.counting import estimate_tokens
from videos.text.glue import glued
from videos.text.passages import passages_of

if TYPE_CHECKING:
    from videos.ai.embedding import EmbeddingLimits

CHUNKS_PER_CALL = 20
#: How often a chunk's text is embedded: itself, and in each of its passages with their neighbors.
TIMES_EMBEDDED = 4
_LEARNED = "max_inputs"


@dataclass(frozen=True)
class Target:
    """A text to embed: a chunk, or what is said around the passage that begins at a segment."""

    chunk: Chunk
    segment_index: int | None
    text: str

    @cached_property
    def text_hash(self) -> str:
        """What tells this text from any other."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Batch:
    """The targets of one call: up to 20 chunks with their passages."""

    chunks: list[Chunk]
    targets: list[Target]
    #: An estimate, on the high side.
    tokens: int

    @property
    def chunk_ids(self) -> list[UUID]:
        """The chunks' ids."""
        return [chunk.pk for chunk in self.chunks]

    def lacks(self, space: Space) -> bool:
        """Whether a chunk had no vector in a space when the chunks were read."""
        spaces = [chunk.spaces for chunk in self.chunks]  # type: ignore[attr-defined]
        return any(str(space) not in its for its in spaces)

    def key(self, space: Space) -> str:
        """The name of its step."""
        return f"chunks {self.chunks[0].index}-{self.chunks[-1].index}, {space}"


def group(
    chunks: Sequence[Chunk], segments: Sequence[Segment], limits: EmbeddingLimits
) -> Iterator[Batch]:
    """Group chunks in order: 20 at most, within what a request may hold."""
    grouped: list[Chunk] = []
    targets: list[Target] = []
    tokens = 0
    for chunk in chunks:
        added = _targets(chunk, segments, limits)
        tokens_of_text = estimate_tokens(chunk.text)
        of_passages = (TIMES_EMBEDDED - 1) * tokens_of_text if len(added) > 1 else 0
        cost = min(tokens_of_text, limits.max_input_tokens) + of_passages
        is_full = (
            len(grouped) >= CHUNKS_PER_CALL
            or len(targets) + len(added) > limits.max_inputs
            or tokens + cost > limits.max_request_tokens
        )
        if grouped and is_full:
            yield Batch(grouped, targets, tokens)
            grouped, targets, tokens = [], [], 0
        grouped.append(chunk)
        targets += added
        tokens += cost
    if grouped:
        yield Batch(grouped, targets, tokens)


def _targets(chunk: Chunk, segments: Sequence[Segment], limits: EmbeddingLimits) -> list[Target]:
    whole = Target(chunk, None, chunk.text)
    passages = passages_of(chunk, segments)[: limits.max_inputs - 1]
    if len(passages) == 1:
        return [whole]
    texts = [each.text for each in passages]
    return [
        whole,
        *(
            Target(chunk, each.first_segment, glued(texts[max(at - 1, 0) : at + 2]))
            for at, each in enumerate(passages)
        ),
    ]


def max_inputs(model: str) -> int:
    """Return how many texts a request may hold: as set, or as the server's refusals taught."""
    rows = ProbedModel.objects.filter(base_url=_base_url(), model=model)
    learned: list[int] = list(rows.values_list(f"capability__{_LEARNED}", flat=True))
    return min([conf().embedding_max_inputs, *filter(None, learned)])


def remember_max_inputs(model: str, count: int) -> None:
    """Have later requests hold no more than `count` texts."""
    ProbedModel.objects.update_or_create(
        base_url=_base_url(), model=model, defaults={"capability": {_LEARNED: count}}
    )


def _base_url() -> str:
    return conf().embedding_base_url or ""
