"""The stage `chunk`: segments → chunks of 500 to 1000 words."""

from __future__ import annotations

from django.contrib.postgres.search import SearchVector
from django.db.models.functions import Now

from videos import chunking, runs, steps
from videos.models import Chunk, Revision
from videos.runs import Claim
from videos.search import SearchText, text_config

_CHUNKS_PER_STATEMENT = 500


def chunk(claim: Claim) -> None:
    """Replace the revision's chunks, and pass the run on to `embed`."""
    revision = claim.run.revision
    assert revision is not None and revision.transcript is not None
    with steps.step(claim, "chunks") as step:
        texts = chunking.chunk(list(revision.transcript.segments.all()))
        config = text_config(revision.transcript.language)
        with claim.guard() as run:
            revision.chunks.all().delete()
            Chunk.objects.bulk_create(
                [
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
                ],
                batch_size=_CHUNKS_PER_STATEMENT,
            )
            revision.chunks.update(search=SearchVector(SearchText("text"), config=config))
            Revision.objects.filter(pk=revision.pk).update(chunked_at=Now())
            steps.finish(run, step, {"chunks": len(texts)})
            runs.advance(run, "embed")
