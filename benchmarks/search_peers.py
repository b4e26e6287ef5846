"""How often others find the moment, on the questions of `evaluate_search`, in the same videos.

    pip install rank-bm25
    .venv/bin/python benchmarks/search_peers.py QUESTIONS.json

Each ranks windows of 150 words, of which the next begins after 75, and names the cue of the window
that has most of the query's words. The peers: BM25 (rank-bm25, Okapi), `websearch_to_tsquery`
with `ts_rank_cd`, and pgvector's example of hybrid search (reciprocal rank fusion, k = 60), with
vectors of the configured model.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

WINDOW, STEP = 150, 75
WORD = re.compile(r"\w+")
RRF_K = 60


@dataclass(frozen=True)
class Window:
    """150 words of a video: its title, its cues, and their text."""

    title: str
    cues: Sequence[Any]
    text: str


def main() -> None:
    """Print what each peer finds."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chronos.settings")
    from chronos.embedded.client import provide
    from chronos.environment import read_environment

    held = provide(read_environment())
    import django

    django.setup()
    from videos.management.commands.evaluate_search import Command, read_questions, summaries
    from videos.text import evaluation
    from videos.text.evaluation import DEPTH, Found

    questions = read_questions(Path(sys.argv[1]))
    windows = all_windows()
    document: dict[str, Any] = {"modes": {}, "failures": []}
    for name, peer in peers(windows).items():
        by_class = defaultdict(list)
        for question in questions:
            hits = [
                Found(windows[at].title == question.video, best_cue(windows[at], question.q))
                for at in peer(question.q)[:DEPTH]
            ]
            by_class[question.cls].append(evaluation.judge(hits, question.iv))
        document["modes"][name] = summaries(questions, by_class)
    Command().show(document)
    if held:
        held.release()


def all_windows() -> list[Window]:
    """Cut every video in force into windows that end with a cue."""
    from videos.models import Video

    windows = []
    for video in Video.objects.exclude(revision=None).select_related("revision__transcript"):
        cues = list(video.revision.transcript.segments.all())
        counts = [max(len(WORD.findall(cue.text)), 1) for cue in cues]
        begin = 0
        while begin < len(cues):
            end, words, following, beyond = begin, 0, begin + 1, 0
            while end < len(cues) and words < WINDOW:
                words += counts[end]
                end += 1
            for at in range(begin, end):
                beyond += counts[at]
                if beyond >= STEP:
                    following = at + 1
                    break
            inside = cues[begin:end]
            windows.append(Window(video.title, inside, " ".join(cue.text for cue in inside)))
            if end >= len(cues):
                break
            begin = following
    return windows


def best_cue(window: Window, query: str) -> float:
    """Return where the cue with most of the query's words begins; the first of equals."""
    asked = set(WORD.findall(query.lower()))
    shared = [len(asked & set(WORD.findall(cue.text.lower()))) for cue in window.cues]
    return float(window.cues[shared.index(max(shared))].start)


def peers(windows: Sequence[Window]) -> dict[str, Callable[[str], list[int]]]:
    """Return the peers: from a query to windows, the best first."""
    import numpy as np
    from django.db import connection
    from rank_bm25 import BM25Okapi

    from videos.ai import providers
    from videos.conf import conf

    bm25 = BM25Okapi([WORD.findall(window.text.lower()) for window in windows])
    settings = conf()
    embedder = providers.embedder()

    def embed(texts: Sequence[str]) -> Any:
        from uuid import uuid4

        vectors = embedder.embed(
            texts,
            dimensions=settings.embedding_dimensions,
            model=settings.embedding_model,
            call_id=uuid4(),
            within_s=60,
        ).vectors
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    texts = [window.text for window in windows]
    vectors = np.vstack([embed(texts[at : at + 500]) for at in range(0, len(texts), 500)])
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE windows (id int, search tsvector)")
    cursor.executemany(
        "INSERT INTO windows VALUES (%s, to_tsvector('english', %s))", list(enumerate(texts))
    )

    def by_bm25(query: str) -> list[int]:
        scores = bm25.get_scores(WORD.findall(query.lower()))
        return [int(at) for at in np.argsort(-scores)[:10] if scores[at] > 0]

    def by_tsquery(function: str) -> Callable[[str], list[int]]:
        def ranked(query: str) -> list[int]:
            cursor.execute(
                f"SELECT id FROM windows, {function}('english', %s) query WHERE search @@ query "
                "ORDER BY ts_rank_cd(search, query) DESC, id LIMIT 20",
                [query],
            )
            return [row[0] for row in cursor.fetchall()]

        return ranked

    def hybrid(query: str) -> list[int]:
        near = np.argsort(-(vectors @ embed([query])[0]))[:20]
        scores: Counter[int] = Counter()
        for ranking in (by_tsquery("plainto_tsquery")(query), near):
            for rank, at in enumerate(ranking, start=1):
                scores[int(at)] += 1 / (RRF_K + rank)  # type: ignore[assignment]
        return [at for at, _ in scores.most_common(10)]

    return {
        "BM25": by_bm25,
        "websearch": by_tsquery("websearch_to_tsquery"),
        "pgvector's": hybrid,
    }


if __name__ == "__main__":
    main()
