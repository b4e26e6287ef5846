"""What the API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Field, Schema


class Warning(Schema):
    """What a viewer should know of a transcript."""

    code: str
    message: str
    start: float | None
    end: float | None


class WaitingFor(Schema):
    """Why a video waits, and until when."""

    reason: str
    until: str | None


class Video(Schema):
    """A video, and how far it is."""

    id: UUID
    title: str
    creator: str
    status: str
    stage: str | None
    progress: float
    eta_s: float | None
    waiting_for: WaitingFor | None
    duration_s: float | None
    language: str | None
    coverage: float | None
    warnings: list[Warning]
    error: str | None
    error_code: str | None
    created_at: datetime | None
    completed_at: datetime | None


class Videos(Schema):
    """A page of videos, the newest first; `next_cursor` leads to the next."""

    videos: list[Video]
    next_cursor: str | None


class VideoChange(Schema):
    """What may be changed of a video."""

    title: str = Field(min_length=1, max_length=255)


class Reprocess(Schema):
    """From which stage (transcribe, chunk, embed, or another app's).

    Without it, a failed or cancelled video goes on where it ended.
    """

    from_stage: str | None = Field(default=None, alias="from")


class Line(Schema):
    """A line of a transcript; `version` grows with every correction."""

    id: int
    version: int
    start: float
    end: float
    text: str
    speaker: str
    suspicious: bool
    timing: str
    words: list[tuple[float, float, str]]


class Transcript(Schema):
    """The transcript in force."""

    video_id: UUID
    language: str | None
    lines: list[Line]


class LineChange(Schema):
    """Another text or speaker for a line, as it was at `version`."""

    version: int
    text: str | None = Field(default=None, max_length=5_000)
    speaker: str | None = Field(default=None, max_length=100)


class Chunk(Schema):
    """500 to 1000 words of a transcript."""

    index: int
    start: float
    end: float
    word_count: int
    text: str
    embedding_model: str | None
    dimensions: int | None


class Hit(Schema):
    """A moment in which something was said."""

    video_id: UUID
    title: str
    #: The line's.
    start: float
    end: float
    #: The first of the words that were found: where no words have times, the line's start.
    second: float
    #: Where a player is to begin: the sentence's start if it is near, else a second before.
    jump: float
    chunk_index: int
    score: float
    snippet: str


class Found(Schema):
    """The moments that fit a query, the best first."""

    query: str
    results: list[Hit]


class Usage(Schema):
    """What was used in a month."""

    creator: str
    month: str
    audio_seconds: float
    transcription_calls: int
    embedding_tokens: int
    embedding_calls: int
    unknown_calls: int
    failed_calls: int
    cost_usd: float


class UploadRequest(Schema):
    """A file that is to be uploaded."""

    filename: str = Field(min_length=1, max_length=1000)
    size: int = Field(gt=0)
    title: str = Field(default="", max_length=255)
    language: str = Field(default="", pattern=r"^([a-z]{2})?$")


class Upload(Schema):
    """An upload: send its bytes to `url` by tus 1.0; `video_id` is that of the video it becomes."""

    id: UUID
    video_id: UUID
    url: str
    offset: int
    size: int
    is_complete: bool


class WebhookRequest(Schema):
    """An address that is to be told; without events, of all."""

    url: str = Field(max_length=500)
    events: list[str] = []


class Webhook(Schema):
    """A webhook; its secret is told once, when it is made."""

    id: UUID
    url: str
    events: list[str]
    is_active: bool
    created_at: datetime | None
    secret: str | None = None


class Delivery(Schema):
    """What was sent to a webhook, and what came back."""

    id: UUID
    event: str
    state: str
    attempts: int
    http_status: int | None
    error: str
    body: str
    created_at: datetime | None
    delivered_at: datetime | None


class ProblemDetails(Schema):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: Any = None
