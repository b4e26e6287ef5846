"""The pipeline on Procrastinate: two tasks, the queue in Postgres."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from benchmarks.peers import plain

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"], max_size=20))


@app.task(name="transcribe")
def transcribe(video_id: int, path: str) -> None:
    """Have the audio transcribed, then the next task begun."""
    plain.transcribe(video_id, path)
    embed.defer(video_id=video_id)


@app.task(name="embed")
def embed(video_id: int) -> None:
    """Chunk and embed what was said."""
    plain.embed(video_id)


def sender() -> App:
    """Return the application for a process that only sends."""
    return App(connector=SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
