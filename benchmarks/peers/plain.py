"""What a pipeline does that one writes in an afternoon: no kept steps, no ledger, no limits.

Audio out, one transcription, chunks of 700 words, one call for their vectors, all in Postgres.
PEER_CODEC names what is sent; with PEER_POOLED, clients and connections are kept, and rows are
copied in one statement, as who knows these libraries would have it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import openai
import psycopg
from imageio_ffmpeg import get_ffmpeg_exe
from psycopg_pool import ConnectionPool

CODECS = {
    "mp3": ("mp3", "-c:a", "libmp3lame", "-b:a", "64k"),
    "opus": ("ogg", "-c:a", "libopus", "-b:a", "32k"),
    "flac": ("flac", "-c:a", "flac"),
}
POOLED = os.environ.get("PEER_POOLED") == "1"
SUFFIX, *CODEC = CODECS[os.environ.get("PEER_CODEC", "mp3")]
WORDS = 700
TABLES = """
    CREATE TABLE IF NOT EXISTS peer_video (id serial PRIMARY KEY, path text, status text);
    CREATE TABLE IF NOT EXISTS peer_segment (video_id int, start float, "end" float, text text);
    CREATE TABLE IF NOT EXISTS peer_chunk (video_id int, text text, vector vector)
    """


@cache
def pool() -> ConnectionPool:
    """Return the connections of this process."""
    return ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=16, open=True)


@contextmanager
def connected() -> Iterator[psycopg.Connection]:
    """Yield a connection, and commit."""
    if POOLED:
        with pool().connection() as connection:
            yield connection
    else:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            yield connection


@cache
def shared_client() -> openai.OpenAI:
    """Return the client of this process."""
    return openai.OpenAI()


def client() -> openai.OpenAI:
    """Return a client."""
    return shared_client() if POOLED else openai.OpenAI()


def transcribe(video_id: int, path: str) -> None:
    """Take the audio out, have it transcribed, and store what was said."""
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / f"audio.{SUFFIX}"
        command = [get_ffmpeg_exe(), "-v", "error", "-i", path, "-vn", "-ac", "1", "-ar", "16000"]
        subprocess.run([*command, *CODEC, audio], check=True)
        with audio.open("rb") as file:
            said: Any = client().audio.transcriptions.create(
                model="whisper-1",
                file=file,
                response_format="verbose_json",
                timestamp_granularities=["segment"],
            )
    rows = [(video_id, each.start, each.end, each.text) for each in said.segments]
    with connected() as connection:
        store(connection, 'peer_segment (video_id, start, "end", text)', rows)


def embed(video_id: int) -> None:
    """Put what was said into chunks, and store their vectors."""
    with connected() as connection:
        said = connection.execute(
            "SELECT text FROM peer_segment WHERE video_id = %s ORDER BY start", [video_id]
        ).fetchall()
        words = " ".join(row[0] for row in said).split()
        chunks = [" ".join(words[at : at + WORDS]) for at in range(0, len(words), WORDS)]
    answer = client().embeddings.create(model="text-embedding-3-small", input=chunks)
    rows = [
        (video_id, text, str(each.embedding))
        for text, each in zip(chunks, answer.data, strict=True)
    ]
    with connected() as connection:
        store(connection, "peer_chunk (video_id, text, vector)", rows)
        connection.execute("UPDATE peer_video SET status = 'completed' WHERE id = %s", [video_id])


def store(connection: psycopg.Connection, columns: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows: by COPY, or one by one."""
    with connection.cursor() as cursor:
        if POOLED:
            with cursor.copy(f"COPY {columns} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * len(rows[0]))
            for row in rows:
                cursor.execute(f"INSERT INTO {columns} VALUES ({places})", row)
