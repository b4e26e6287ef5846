"""How long searches take among many chunks: by words, and by vectors with an HNSW index (B7).

    .venv/bin/python benchmarks/searching.py [CHUNKS [DIMENSIONS]]

What is searched is made by `benchmarks/search_data.py`; the embedding call is not counted. Beside
ours: `ts_rank` over all that has the words, and pgvector's query as its README has it, which
compares all.
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
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish  # noqa: E402
from benchmarks.search_data import WORDS, Vectors, fill, store_vectors  # noqa: E402
from benchmarks.services import is_child, run_again  # noqa: E402

#: About a quarter of the memory is what Postgres' own documentation begins with (19.4.1).
SHARED_BUFFERS = "128MB" if IS_QUICK else "2GB"
ASKED = 20 if IS_QUICK else 100
PASSAGE_DIMENSIONS = 512
#: From which word to which is asked for, the most frequent first.
KINDS = {
    "rare": (10_000, WORDS),
    "common": (10, 200),
    "the most common": (1, 10),
    "mixed": (5, WORDS),
}
#: The same on every run.
DRAWN = random.Random(1)

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
