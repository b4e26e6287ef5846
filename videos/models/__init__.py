"""The tables of Chronos, by noun."""

from videos.durable.models import ACTIVE_STATES, Event, Run, SetAside, Step, Worker
from videos.durable.paid.models import Breaker, Call, MonthlyUsage
from videos.models.knowledge import (
    AudioPart,
    Chunk,
    Embedding,
    Glossary,
    ProbedModel,
    Revision,
    Segment,
    ServingModel,
    Transcript,
)
from videos.models.video import StorageDeletion, Video

__all__ = [
    "ACTIVE_STATES",
    "AudioPart",
    "Breaker",
    "Call",
    "Chunk",
    "Embedding",
    "Event",
    "Glossary",
    "MonthlyUsage",
    "ProbedModel",
    "Revision",
    "Run",
    "Segment",
    "ServingModel",
    "SetAside",
    "Step",
    "StorageDeletion",
    "Transcript",
    "Video",
    "Worker",
]
