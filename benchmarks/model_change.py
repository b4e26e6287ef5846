"""A change of the embedding model while people search: no search without results, none mixed.

    .venv/bin/python benchmarks/model_change.py [CHUNKS]

All chunks are embedded by one model, then, as `reprocess --all --from embed --bulk` has it, by
another, by workers that are started with it, while four threads search by meaning. The service is
an HTTP server here, which answers at once. A search is counted by the one model whose vectors its
query was compared with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

OLD, NEW = "text-embedding-3-small", "other-embed"
SEARCHERS, LOOK_S = 4, 1.0

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
    """Fill a database, embed it, change the model, and print what searches saw."""
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if not is_child():
        run_again()
        return
    import django

    from tests.openai_server import OpenAIServer

    server = OpenAIServer(dimensions=int(os.environ["EMBEDDING_DIMENSIONS"]))
    server.start()
    os.environ |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
    django.setup()
    from django.db import connection

    from benchmarks.searching import fill
    from videos.models import Revision

    fill(chunks)
    with connection.cursor() as cursor:
        cursor.execute(TEXTS)
    Revision.objects.update(chunked_at="2026-01-01T00:00Z")
    print(f"the first model: {embed_all(OLD):.0f} s", flush=True)
    server.calls.clear()
    seen: Counter[str] = Counter()
    over = threading.Event()
    searchers = [threading.Thread(target=search_on, args=[seen, over]) for _ in range(SEARCHERS)]
    for searcher in searchers:
        searcher.start()
    took_s = embed_all(NEW)
    time.sleep(LOOK_S)
    over.set()
    for searcher in searchers:
        searcher.join()
    print(f"the second model: {took_s:.0f} s; searches meanwhile: {dict(sorted(seen.items()))}")


def embed_all(model: str) -> float:
    """Have workers embed every video by a model; return the seconds until it serves searches."""
    from django.core.management import call_command

    from videos.management.waiting import start_worker, stop
    from videos.models import Run, ServingModel

    os.environ["EMBEDDING_MODEL"] = model
    began = time.monotonic()
    worker = start_worker(2, 4, subprocess.DEVNULL)
    try:
        call_command("reprocess", "--all", "--from", "embed", "--bulk", "--json", stdout=_Nowhere())
        while not ServingModel.objects.filter(model=model).exists():
            failed = Run.objects.filter(state="failed").first()
            assert failed is None, failed.error
            time.sleep(LOOK_S)
        return time.monotonic() - began
    finally:
        stop(worker)


class _Nowhere:
    def write(self, text: str) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Nothing is kept."""


def search_on(seen: Counter[str], over: threading.Event) -> None:
    """Search by meaning until it is over; count by the model that answered, and what found none."""
    from django.db import connection

    from benchmarks.searching import DRAWN, WORDS
    from videos.models import Video
    from videos.search import vectors
    from videos.search.scope import scope

    while not over.is_set():
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
