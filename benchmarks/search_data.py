"""What is searched by the benchmark of searches: chunks, their passages, and vectors of both.

Chunks hold 28 passages of 25 words, drawn from 200,000 by Zipf's law; videos have 12 chunks, and
creators 10 videos. Vectors lie near a space of much fewer dimensions, as those of texts do.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from videos.models import ServingModel

CHUNKS_PER_VIDEO, PASSAGES_PER_CHUNK, VIDEOS_PER_CREATOR = 12, 28, 10
WORDS, WORDS_PER_PASSAGE = 200_000, 25
PASSAGE_S = 10.0
TOPICS, LATENT = 2_000, 64

PASSAGES = """
    WITH said AS MATERIALIZED (
        SELECT chunk.id AS chunk_id, chunk.revision_id, revision.transcript_id,
            chunk.first_segment + n AS place,
            ARRAY(
                SELECT 'w' || floor(exp(random() * ln(%s)))::int
                FROM generate_series(1, %s + 0 * n) WHERE chunk.id IS NOT NULL
            ) AS words
        FROM (SELECT * FROM videos_chunk WHERE id > %s ORDER BY id LIMIT %s) AS chunk
        JOIN videos_revision AS revision ON revision.id = chunk.revision_id,
            generate_series(0, %s) AS n
    ), segments AS (
        INSERT INTO videos_segment (transcript_id, index, start, "end", text, speaker, doubt, words)
        SELECT transcript_id, place, place * %s, (place + 1) * %s, array_to_string(words, ' '),
            '', '', '[]'
        FROM said
    )
    INSERT INTO videos_passage (chunk_id, revision_id, first_segment, last_segment, start, "end",
        text_config, lexemes)
    SELECT chunk_id, revision_id, place, place, place * %s, (place + 1) * %s, 'english',
        array_to_tsvector(words || ARRAY(SELECT '=' || word FROM unnest(words) AS word))
    FROM said RETURNING chunk_id
    """


def fill(chunks: int) -> str:
    """Make videos with chunks, passages and segments, all in force; tell of them."""
    from django.db import connection

    from videos.pipeline import lexemes

    began = time.perf_counter()
    make_chunks(chunks)
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '2GB'; SET work_mem = '1GB'")
        cursor.execute("DROP INDEX passage_lexemes")
        last = "00000000-0000-0000-0000-000000000000"
        sizes = [WORDS, WORDS_PER_PASSAGE]
        while True:
            cursor.execute(
                PASSAGES,
                [*sizes, last, 10_000, PASSAGES_PER_CHUNK - 1, *[PASSAGE_S] * 4],
            )
            added = [row[0] for row in cursor.fetchall()]
            if not added:
                break
            last = str(max(added))
        cursor.execute("CREATE INDEX passage_lexemes ON videos_passage USING gin (lexemes)")
        lexemes.add_up()
        for table in ("passage", "segment", "chunk", "revision", "video", "lexeme"):
            cursor.execute(f"VACUUM ANALYZE videos_{table}")
        cursor.execute(
            "SELECT count(*), pg_size_pretty(pg_table_size('videos_passage')), "
            "pg_size_pretty(pg_relation_size('passage_lexemes')) FROM videos_passage"
        )
        count, table, index = cursor.fetchone()
    took_s = time.perf_counter() - began
    return f"{count:,} passages: {table}, their index {index}, made in {took_s:.0f} s."


def make_chunks(count: int) -> None:
    """Make creators, with videos, with chunks that have no text."""
    from django.contrib.auth import get_user_model

    from videos.models import Chunk, Revision, Transcript, Video

    videos = [
        Video(file="videos/none.mp4", title="A talk", status="completed", progress=1)
        for _ in range(max(count // CHUNKS_PER_VIDEO, 1))
    ]
    users = get_user_model().objects
    for number, video in enumerate(videos):
        if number % VIDEOS_PER_CREATOR == 0:
            creator = users.create(username=f"creator{number}")
        video.creator = creator
    Video.objects.bulk_create(videos)
    transcripts = [Transcript(video=video, model="whisper-1", language="en") for video in videos]
    Transcript.objects.bulk_create(transcripts)
    revisions = [
        Revision(video=each.video, transcript=each, has_passages=True) for each in transcripts
    ]
    Revision.objects.bulk_create(revisions)
    for video, revision in zip(videos, revisions, strict=True):
        video.revision = revision
    Video.objects.bulk_update(videos, ["revision"], batch_size=1_000)
    length_s = PASSAGES_PER_CHUNK * PASSAGE_S
    Chunk.objects.bulk_create(
        (
            Chunk(
                revision=revision,
                index=number,
                start=number * length_s,
                end=(number + 1) * length_s,
                first_segment=number * PASSAGES_PER_CHUNK,
                last_segment=(number + 1) * PASSAGES_PER_CHUNK - 1,
                text="",
                word_count=700,
                token_count=900,
            )
            for revision in revisions
            for number in range(CHUNKS_PER_VIDEO)
        ),
        batch_size=5_000,
    )


class Vectors:
    """Vectors of many topics: of texts, they lie near a space of much fewer dimensions."""

    def __init__(self, dimensions: int) -> None:
        self._random = np.random.default_rng(1)
        self._topics = self._random.standard_normal((TOPICS, LATENT))
        self._spread = self._random.standard_normal((LATENT, dimensions)).astype(np.float32)

    def some(self, count: int) -> npt.NDArray[np.float32]:
        """Return vectors, one a row."""
        topics = self._topics[self._random.integers(TOPICS, size=count)]
        latent = topics + 0.7 * self._random.standard_normal((count, LATENT))
        vectors = latent.astype(np.float32) @ self._spread
        vectors += self._random.standard_normal(vectors.shape, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def store_vectors(serving: ServingModel, drawn: Vectors) -> None:
    """Give each chunk a vector, and each of its passages, as the pipeline does."""
    from pgvector import HalfVector

    from videos.models import Chunk
    from videos.pipeline.vectors import Space, VectorRow, encode, replace

    space = Space(serving.model, serving.dimensions)
    chunks = list(Chunk.objects.values_list("pk", "first_segment"))
    for at in range(0, len(chunks), 100):
        some = chunks[at : at + 100]
        places = [
            (chunk_id, index)
            for chunk_id, first in some
            for index in (None, *range(first, first + PASSAGES_PER_CHUNK))
        ]
        rows = [
            VectorRow(chunk_id, index, "", space.shortened(HalfVector(vector), index))
            for (chunk_id, index), vector in zip(places, drawn.some(len(places)), strict=True)
        ]
        replace([chunk_id for chunk_id, _ in some], space, encode(rows, space))
