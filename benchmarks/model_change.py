"""A change of the embedding model while people search: no search without results, none mixed.

    .venv/bin/python benchmarks/model_change.py [CHUNKS]

Chunks have the vectors of one model, and its index. Then, as `reprocess --all --from embed --bulk`
has it, workers that are started with another model embed them all, its index is built, which
switches, and searches go back, and forth again, and the old vectors are dropped; meanwhile four
threads search by meaning, each five times a second. The service is an HTTP server here, which
answers at once. A search is counted by the one model whose vectors its query was compared with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

if TYPE_CHECKING:
    from videos.pipeline.vectors import Space

OLD, NEW = "text-embedding-3-small", "other-embed"
SEARCHERS, LOOK_S, PACE_S = 4, 1.0, 0.2

TEXTS = """
    UPDATE videos_chunk AS chunk SET text = said.text FROM (
        SELECT chunk.id, string_agg(segment.text, ' ' ORDER BY segment.index) AS text
        FROM videos_chunk AS chunk
            JOIN videos_revision AS revision ON revision.id = chunk.revision_id
            JOIN videos_segment AS segment ON segment.transcript_id = revision.transcript_id
                AND segment.index BETWEEN chunk.first_segment AND chunk.last_segment
        GROUP BY chunk.id
    ) AS said WHERE said.id = chunk.id
    """


def main() -> None:
    """Fill a database, change the model, and print what searches saw."""
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if not is_child():
        run_again()
        return
    import django

    from tests.openai_server import OpenAIServer

    dimensions = int(os.environ["EMBEDDING_DIMENSIONS"])
    server = OpenAIServer(dimensions=dimensions)
    server.start()
    os.environ |= {
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": server.key,
        "EMBEDDING_MODEL": NEW,
    }
    django.setup()
    from django.db import connection

    from benchmarks.search_data import Vectors, fill, store_vectors
    from videos.models import Revision, ServingModel
    from videos.pipeline import embedding_models
    from videos.pipeline.vectors import Space

    fill(chunks)
    with connection.cursor() as cursor:
        cursor.execute(TEXTS)
    old, new = Space(OLD, dimensions), Space(NEW, dimensions)
    Revision.objects.update(chunked_at="2026-01-01T00:00Z", embedding_model=OLD)
    serving = ServingModel.objects.create(model=OLD, dimensions=dimensions)
    store_vectors(serving, Vectors(dimensions))
    command("index_embeddings")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE videos_embedding")
    with searching("filled beside the old one"):
        embed_all(new)
        assert not embedding_models.lacking(new).exists()
    with searching("its index built, and switched to"):
        command("index_embeddings")
        assert ServingModel.objects.get().model == NEW
    with searching("back"):
        command("embedding_models", "--serve", str(old))
    with searching("forth again"):
        command("embedding_models", "--serve", str(new))
    with searching("the old vectors dropped"):
        command("embedding_models", "--drop", str(old))


@contextmanager
def searching(what: str) -> Iterator[None]:
    """Let threads search meanwhile, and a little longer; print what they saw."""
    seen: Counter[str] = Counter()
    over = threading.Event()
    searchers = [threading.Thread(target=search_on, args=[seen, over]) for _ in range(SEARCHERS)]
    for searcher in searchers:
        searcher.start()
    began = time.monotonic()
    try:
        yield
        took_s = time.monotonic() - began
        time.sleep(LOOK_S)
    finally:
        over.set()
        for searcher in searchers:
            searcher.join()
    print(f"{what}: {took_s:.1f} s; searches: {dict(sorted(seen.items()))}", flush=True)


def embed_all(space: Space) -> None:
    """Have workers embed every video for a space."""
    from videos.management.waiting import start_worker, stop
    from videos.models import Run
    from videos.pipeline import embedding_models

    worker = start_worker(2, 4, subprocess.DEVNULL)
    try:
        command("reprocess", "--all", "--from", "embed", "--bulk")
        while embedding_models.lacking(space).exists():
            failed = Run.objects.filter(state="failed").first()
            assert failed is None, failed.error
            time.sleep(LOOK_S)
    finally:
        stop(worker)


def command(*arguments: str) -> None:
    """Run a command of ours without its output."""
    from django.core.management import call_command

    with open(os.devnull, "w") as nowhere:
        call_command(*arguments, "--json", stdout=nowhere, stderr=nowhere)


def search_on(seen: Counter[str], over: threading.Event) -> None:
    """Search by meaning until it is over; count by the model that answered, and what found none."""
    from django.db import connection

    from benchmarks.search_data import WORDS
    from benchmarks.searching import DRAWN
    from videos.models import Video
    from videos.search import vectors
    from videos.search.scope import scope

    while not over.wait(PACE_S):
        words = " ".join(f"w{int(WORDS ** DRAWN.random())}" for _ in range(3))
        asked = vectors.embedded(words, is_needed=True)
        if asked is None:
            seen["no model"] += 1
            continue
        with connection.cursor():
            nearest = vectors.by_vector(asked, scope(Video.objects.all()), 10)
        seen[asked.model.model if nearest.places else "no result"] += 1
    connection.close()


if __name__ == "__main__":
    main()
