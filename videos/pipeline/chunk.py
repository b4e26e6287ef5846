"""The stage `chunk`: segments → chunks of 500 to 1000 words."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models.functions import Now

from videos.durable import runs, steps
from videos.durable.claims import Claim
from videos.models import Chunk, Revision
from videos.text import chunking
from videos.text.chunking import ChunkText
from videos.text.languages import text_config
from videos.text.search_vector import search_vector

_CHUNKS_PER_STATEMENT = 500
_CHUNKED_WITHIN_S = 1800.0


def chunk(claim: Claim) -> None:
    """Replace the revision's chunks, and pass the run on."""
    revision = claim.run.revision
    assert revision is not None and revision.transcript is not None
    with steps.step(claim, "chunks") as step:
        segments = list(revision.transcript.segments.all())
        # A person who cancels waits for no text, however long.
        texts = claim.await_call(_CHUNKED_WITHIN_S, chunking.chunk, segments)
        config = text_config(revision.transcript.language)
        with claim.guard() as run:
            revision.chunks.all().delete()
            Chunk.objects.bulk_create(
                chunk_rows(revision, texts, config), batch_size=_CHUNKS_PER_STATEMENT
            )
            revision.chunks.update(search=search_vector("text", config))
            Revision.objects.filter(pk=revision.pk).update(chunked_at=Now())
            steps.finish(run, step, {"chunks": len(texts)})
            runs.advance(run)


def chunk_rows(revision: Revision, texts: Sequence[ChunkText], config: str) -> list[Chunk]:
    """Return the rows of a revision's chunks, to be stored; `config` is that of the words."""
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
            text_config=config,
        )
        for index, text in enumerate(texts)
    ]
