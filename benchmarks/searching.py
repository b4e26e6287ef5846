"""How long searches take among many chunks: by words, and by vectors with an HNSW index (B7).

    .venv/bin/python benchmarks/searching.py [CHUNKS [DIMENSIONS]]

Chunks hold 28 passages of 25 words, drawn from 200,000 by Zipf's law; videos have 12 chunks, and
creators 10 videos. The embedding call is not counted. Beside ours: `ts_rank` over all that has the
words, and pgvector's query as its README has it, which compares all.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402

if TYPE_CHECKING:
    from videos.models import ServingModel

CHUNKS_PER_VIDEO, PASSAGES_PER_CHUNK, VIDEOS_PER_CREATOR = 12, 28, 10
WORDS, WORDS_PER_PASSAGE = 200_000, 25
PASSAGE_S = 10.0
#: About a quarter of the memory is what Postgres' own documentation begins with (19.4.1).
SHARED_BUFFERS = "128MB" if IS_QUICK else "2GB"
ASKED = 20 if IS_QUICK else 100
PASSAGE_DIMENSIONS, TOPICS, LATENT = 512, 2_000, 64
#: From which word to which is asked for, the most frequent first.
KINDS = {
    "rare": (10_000, WORDS),
    "common": (10, 200),
    "the most common": (1, 10),
    "mixed": (5, WORDS),
}
#: The same on every run.
DRAWN = random.Random(1)

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


#: As one searches by words with Postgres alone.
BY_RANK = """
    SELECT id FROM videos_passage, websearch_to_tsquery('simple', %s) AS query
    WHERE lexemes @@ query ORDER BY ts_rank(lexemes, query) DESC LIMIT 10
    """
#: As pgvector's README searches, among passages: without an index it compares all.
PLAIN = """
    SELECT chunk_id, segment_index FROM videos_embedding WHERE segment_index IS NOT NULL
    ORDER BY {} <=> %s::halfvec LIMIT 200
    """


def main() -> None:
    """Fill a database, and publish what searches in it take."""
    given = [int(argument) for argument in sys.argv[1:]]
    chunks = given[0] if given else 240 if IS_QUICK else 100_000
    dimensions = given[1] if len(given) > 1 else 1_536
    if not is_child():
        run_again(shared_buffers=SHARED_BUFFERS)
        return
    import django

    django.setup()
    said = [fill(chunks)]
    found = measure_words()
    by_vectors, more, recall = measure_vectors(dimensions)
    found |= by_vectors
    table = [
        f"| {chunks:,} chunks, {ASKED} searches each, ms | p50 | p95 | in the database, p95 "
        "| at first |",
        "|---" * 5 + "|",
    ]
    table += [
        f"| {name} | {each.p50:.1f} | {each.p95:.1f} | {each.in_database_p95:.1f} "
        f"| {'' if each.first_in_database_p95 is None else f'{each.first_in_database_p95:.1f}'} |"
        for name, each in found.items()
    ]
    table += ["", *said, *more]
    every, exact = found["Chronos, vectors, all videos"], found["pgvector, comparing all"]
    ours, theirs = every.in_database_p95, exact.in_database_p95
    lines = [
        Line(
            f"vectors of {chunks:,} chunks, in the database, p95, ms; recall@10",
            f"{ours:.0f}, {ours / theirs:.2f} x; {recall:.3f}",
            f"{theirs:.0f} (pgvector, comparing all)",
            "15; 0.98",
        ),
    ]
    for kind in KINDS:
        words = found[f"Chronos, words, {kind}, all videos"].in_database_p95
        rank = found[f"ts_rank, {kind} words"].in_database_p95
        what = f"{kind} words, all videos, in the database, p95, ms"
        lines.append(Line(what, f"{words:.0f}", f"{rank:.1f} (ts_rank)", "15"))
    bars = {name: each.p50 for name, each in found.items()}
    publish("B7", lines, table, bars, "milliseconds, p50")


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


def measure_words() -> dict[str, Spread]:
    """Search by three words, of all sorts of frequency, in all videos and in one creator's."""
    from django.contrib.auth import get_user_model
    from django.db import connection

    from videos.models import Video
    from videos.search import search

    creator = get_user_model().objects.first()
    every, theirs = Video.objects.all(), Video.objects.filter(creator=creator)
    found: dict[str, Spread] = {}
    for kind, (least, most) in KINDS.items():
        queries = [
            " ".join(f"w{int(least * (most / least) ** DRAWN.random())}" for _ in range(3))
            for _ in range(ASKED)
        ]
        for name, videos in (("all videos", every), ("one creator", theirs)):
            found[f"Chronos, words, {kind}, {name}"] = measured(
                (partial(search, query, videos, mode="text") for query in queries),
                is_first=videos is every,
            )
        with connection.cursor() as cursor:
            found[f"ts_rank, {kind} words"] = measured(
                partial(cursor.execute, BY_RANK, [query]) for query in queries
            )
    return found


def measure_vectors(dimensions: int) -> tuple[dict[str, Spread], list[str], float]:
    """Search by vectors, exactly and by HNSW: the times, what is told, and the recall of ten."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection
    from pgvector import HalfVector

    from videos.models import ServingModel, Video
    from videos.search.scope import scope
    from videos.search.vectors import Asked, by_vector

    # Of OpenAI's models, passages keep 512 numbers.
    model = "text-embedding-3-small" if dimensions > PASSAGE_DIMENSIONS else "benchmark"
    serving = ServingModel.objects.create(model=model, dimensions=dimensions)
    drawn = Vectors(dimensions)
    began = time.perf_counter()
    store_vectors(serving, drawn)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE videos_embedding")
        cursor.execute(
            "SELECT count(*), pg_size_pretty(pg_table_size('videos_embedding')) "
            "FROM videos_embedding"
        )
        count, size = cursor.fetchone()
    said = [f"{count:,} vectors: {size}, stored in {time.perf_counter() - began:.0f} s."]
    every = scope(Video.objects.all())
    theirs = scope(Video.objects.filter(creator=get_user_model().objects.first()))
    asked = [Asked(HalfVector(row), serving) for row in drawn.some(ASKED)]
    compared = asked[: ASKED // 4]
    exact = [by_vector(each, every, 200).places for each in compared]
    plain = PLAIN.format(serving.compared)
    with connection.cursor() as cursor:
        found = {
            "pgvector, comparing all": measured(
                partial(cursor.execute, plain, [each.compared]) for each in compared
            )
        }
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '4GB'")
    began = time.perf_counter()
    call_command("index_embeddings", verbosity=0)
    built_s = time.perf_counter() - began
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_size_pretty(pg_relation_size(%s))", [serving.index_name])
        said.append(f"The HNSW index: {cursor.fetchone()[0]}, built in {built_s:.0f} s.")
    for name, within in (("all videos", every), ("one creator", theirs)):
        by_vector(asked[0], within, 200)
        found[f"Chronos, vectors, {name}"] = measured(
            partial(by_vector, each, within, 200) for each in asked
        )
    recalls = []
    for each, known in zip(asked, exact, strict=False):
        wanted = {place.id for place in known[:10]}
        got = {place.id for place in by_vector(each, every, 200).places[:10]}
        recalls.append(len(wanted & got) / max(len(wanted), 1))
    return found, said, statistics.fmean(recalls)


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


@dataclass(frozen=True)
class Spread:
    """What searches take, in milliseconds."""

    p50: float
    p95: float
    in_database_p95: float
    #: The same when nobody has asked for these words before; None where somebody has.
    first_in_database_p95: float | None


def measured(searches: Iterable[Callable[[], object]], *, is_first: bool = False) -> Spread:
    """Return what some searches take, and of that their statements, once all were made before.

    Args:
        is_first: whether nothing like them was made before, so that this counts as well.
    """
    searches = list(searches)
    _, cold = timed(searches)
    whole, within = timed(searches)
    return Spread(
        statistics.median(whole), p95(whole), p95(within), p95(cold) if is_first else None
    )


def timed(searches: Sequence[Callable[[], object]]) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each search, and of its statements."""
    from django.db import connection

    whole, within = [], []
    for search in searches:
        statements: list[float] = []

        def execute(go_on: Any, *given: Any, of: list[float] = statements) -> Any:
            began = time.perf_counter()
            answered = go_on(*given)
            of.append(time.perf_counter() - began)
            return answered

        with connection.execute_wrapper(execute):
            began = time.perf_counter()
            search()
            whole.append(1_000 * (time.perf_counter() - began))
        within.append(1_000 * sum(statements))
    return whole, within


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    main()
