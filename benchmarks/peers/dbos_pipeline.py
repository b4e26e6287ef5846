"""The pipeline on DBOS: a workflow of two steps, each kept in Postgres.

`python -m benchmarks.peers.dbos_pipeline` is a worker of 16 threads.
"""

from __future__ import annotations

import os
import threading

from dbos import DBOS, DBOSConfig

from benchmarks.peers import plain

QUEUE, THREADS = "videos", 16
URL = os.environ["DATABASE_URL"]


@DBOS.step()
def transcribe(video_id: int, path: str) -> None:
    """Have the audio transcribed."""
    plain.transcribe(video_id, path)


@DBOS.step()
def embed(video_id: int) -> None:
    """Chunk and embed what was said."""
    plain.embed(video_id)


@DBOS.workflow()
def process(video_id: int, path: str) -> None:
    """Do both, and go on where a worker died."""
    transcribe(video_id, path)
    embed(video_id)


def main() -> None:
    """Work until the end."""
    DBOS(config=DBOSConfig(name="peer", system_database_url=URL, max_executor_threads=THREADS * 2))
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=THREADS, polling_interval_sec=0.1)
    threading.Event().wait()


if __name__ == "__main__":
    main()
