"""The typed events of a video, and the durable functions of any app that events start.

from videos import events

@dataclass
class Greeting:
    name: str

@events.function("my/greeting.requested", data=Greeting)
def greet(run, data: Greeting):
    letter = run.step("write", write_letter, data.name)
    run.step("send", send_letter, letter)

events.send("my/greeting.requested", {"name": "Ada"})
"""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from videos.durable.functions import RunContext, function
from videos.durable.outbox import emit, event_recorded, parse, send
from videos.durable.registry import registry
from videos.exceptions import EventRefused, UnknownChunk, UnknownVideo
from videos.models import Chunk, Video

__all__ = [
    "BatchReprocess",
    "ChunkRequested",
    "EmbedRequested",
    "RunContext",
    "TranscribeRequested",
    "TranscriptionCompleted",
    "VideoCompleted",
    "VideoData",
    "VideoFailed",
    "add_video_type",
    "emit",
    "event_recorded",
    "function",
    "parse",
    "send",
]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class VideoData(_Data):
    """What every event about one video says."""

    video_id: UUID
    creator_id: int | UUID | str


class TranscribeRequested(VideoData):
    """`video/transcribe.requested`: the whole pipeline."""

    storage_path: str = Field(min_length=1, max_length=500)
    original_filename: str = Field(max_length=1000)
    language: str | None = Field(default=None, max_length=16)
    #: Transcribe a completed video again; vectors of texts that stay the same are kept.
    again: bool = False
    #: The same, and pay again for equal content.
    force: bool = False


class TranscriptionCompleted(VideoData):
    """`video/transcription.completed`: emitted."""

    segment_count: int
    duration_s: float


class ChunkRequested(VideoData):
    """`video/chunk.requested`: from chunking."""

    force: bool = False


class EmbedRequested(VideoData):
    """`video/embed.requested`: from embedding, all chunks or those named; an empty list is none."""

    chunk_ids: list[UUID] | None = Field(default=None, min_length=1)


class BatchReprocess(_Data):
    """`video/embeddings.batch-reprocess`: re-embeds each, on the queue `bulk`."""

    video_ids: list[UUID] = Field(min_length=1)


class VideoCompleted(VideoData):
    """`video/completed`: emitted."""

    duration_s: float
    chunk_count: int


class VideoFailed(VideoData):
    """`video/failed`: emitted."""

    error_code: str
    error: str


def add_video_type(name: str, data: type[VideoData], *, emitted: bool = False) -> None:
    """Register an event about one video; it is refused where there is no such video.

    Raises:
        ValueError: if the name has another data class already.
    """
    registry.add_type(
        name, data, emitted=emitted, check=_check_video, subject=lambda parsed: parsed.video_id
    )


def _check_video(name: str, parsed: VideoData) -> None:
    """Refuse an event about a video that does not exist, or that another creator owns."""
    owner = Video.objects.filter(pk=parsed.video_id).values_list("creator_id", flat=True).first()
    if owner is None:
        raise UnknownVideo(f"{name}: there is no video {parsed.video_id}.", field="video_id")
    if str(owner) != str(parsed.creator_id):
        raise EventRefused(f"{name}: the video has another creator.", field="creator_id")
    if isinstance(parsed, EmbedRequested):
        _check_chunks(name, parsed)


def _check_videos(name: str, parsed: BatchReprocess) -> None:
    known = set(Video.objects.filter(pk__in=parsed.video_ids).values_list("pk", flat=True))
    for number, video_id in enumerate(parsed.video_ids):
        if video_id not in known:
            raise UnknownVideo(
                f"{name}: there is no video {video_id}.", field=f"video_ids.{number}"
            )


def _check_chunks(name: str, parsed: EmbedRequested) -> None:
    """Refuse an event that names chunks which the video does not have."""
    named = parsed.chunk_ids or []
    theirs = Chunk.objects.filter(pk__in=named, revision__video=parsed.video_id)
    known = set(theirs.values_list("pk", flat=True))
    for number, chunk_id in enumerate(named):
        if chunk_id not in known:
            raise UnknownChunk(
                f"{name}: the video has no chunk {chunk_id}.", field=f"chunk_ids.{number}"
            )


_TYPES: list[tuple[str, type[VideoData], bool]] = [
    ("video/transcribe.requested", TranscribeRequested, False),
    ("video/transcription.completed", TranscriptionCompleted, True),
    ("video/chunk.requested", ChunkRequested, False),
    ("video/embed.requested", EmbedRequested, False),
    ("video/cancel.requested", VideoData, False),
    ("video/transcript.corrected", VideoData, True),
    ("video/completed", VideoCompleted, True),
    ("video/failed", VideoFailed, True),
    ("video/cancelled", VideoData, True),
]
for _name, _type, _emitted in _TYPES:
    add_video_type(_name, _type, emitted=_emitted)
registry.add_type("video/embeddings.batch-reprocess", BatchReprocess, check=_check_videos)
