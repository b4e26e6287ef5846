"""The pipeline on Celery: two tasks, late acknowledgements where it is well written."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.peers import plain

#: Celery has a name of its own for Redis on a socket.
BROKER = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")

app = Celery("peer", broker=BROKER.replace("db=", "virtual_host="))
app.conf.update(task_acks_late=plain.POOLED, worker_prefetch_multiplier=1, task_ignore_result=True)


@app.task
def transcribe(video_id: int, path: str) -> None:
    """Have the audio transcribed, then the next task begun."""
    plain.transcribe(video_id, path)
    embed.delay(video_id)


@app.task
def embed(video_id: int) -> None:
    """Chunk and embed what was said."""
    plain.embed(video_id)
