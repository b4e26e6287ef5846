"""Rows as the pipeline leaves them, for tests that need no worker."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from pgvector import HalfVector

from tests.openai_server import embed_words
from videos.conf import conf
from videos.models import (
    Call,
    Chunk,
    Embedding,
    Revision,
    Run,
    Segment,
    ServingModel,
    Step,
    Transcript,
    Video,
    Worker,
)
from videos.pipeline import passages
from videos.pipeline.chunks import chunk_rows
from videos.text import chunking
from videos.text.passages import in_passages

SEGMENT_S = 5.0


def completed_video(
    creator: Any, segments: int = 3, text: str = "", start: float = 0.0, **fields: Any
) -> Video:
    """A video that is completed and in force, without events."""
    texts = [text or f"This is sentence number {n}." for n in range(segments)]
    return spoken_video(creator, texts, start=start, **fields)


def spoken_video(
    creator: Any, texts: list[str], start: float = 0.0, language: str = "en", **fields: Any
) -> Video:
    """A completed video in which these sentences were said, five seconds each."""
    video = Video(creator=creator, file="videos/none.mp4", title="A talk", duration_s=60, **fields)
    Video.objects.bulk_create([video])
    transcript = Transcript.objects.create(
        video=video,
        source_hash="0" * 64,
        splitter="1:60000:720000",
        model="whisper-1",
        duration_ms=60_000,
        language=language,
        coverage=1.0,
        completed_at=timezone.now(),
        cut_at=timezone.now(),
    )
    rows = [
        Segment(
            transcript=transcript,
            index=index,
            start=start + index * SEGMENT_S,
            end=start + (index + 1) * SEGMENT_S,
            text=said,
        )
        for index, said in enumerate(texts)
    ]
    Segment.objects.bulk_create(rows)
    revision = Revision.objects.create(video=video, transcript=transcript)
    embed_chunks(revision, rows)
    # Last: a sweep would make the passages of what is chunked and has none.
    Revision.objects.filter(pk=revision.pk).update(chunked_at=timezone.now())
    Video.objects.filter(pk=video.pk).update(
        status="completed", progress=1, revision=revision, detected_language=language, coverage=1
    )
    finished_run(video)
    video.refresh_from_db()
    return video


def embed_chunks(revision: Revision, segments: list[Segment]) -> None:
    settings = conf()
    texts = chunking.chunk(segments)
    chunks = Chunk.objects.bulk_create(chunk_rows(revision, texts))
    passages.store(revision, chunks, segments)
    for chunk, text in zip(chunks, texts, strict=True):
        inside = segments[text.first_segment : text.last_segment + 1]
        targets = [(None, text.text), *in_passages(inside)]
        Embedding.objects.bulk_create(
            Embedding(
                chunk=chunk,
                segment_index=None if first is None else text.first_segment + first,
                model=settings.embedding_model,
                dimensions=settings.embedding_dimensions,
                vector=HalfVector(embed_words(said, settings.embedding_dimensions)),
            )
            for first, said in targets
        )
    ServingModel.objects.update_or_create(
        id=1,
        defaults={"model": settings.embedding_model, "dimensions": settings.embedding_dimensions},
    )


def finished_run(video: Video) -> Run:
    """A completed run of the video, with a step, a call and a worker."""
    run = Run.objects.create(
        function="process_video",
        video=video,
        creator=video.creator,
        revision=video.revision,
        state="completed",
        stage="finish",
    )
    step = Step.objects.create(run=run, stage="embed", key="chunks 0-0", state="done", attempts=1)
    Call.objects.create(
        creator=video.creator,
        creator_name=video.creator.get_username(),
        video_id=video.pk,
        run_id=run.pk,
        step_id=step.pk,
        service="embedding",
        model="text-embedding-3-small",
        state="answered",
        used=True,
        tokens=100,
    )
    Worker.objects.create(pid=1, host="host", threads=8, last_seen=timezone.now())
    return run
