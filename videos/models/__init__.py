"""The tables of Chronos, by noun; those of the engine are defined in `videos.durable`."""

from videos.durable.models import ACTIVE_STATES, Event, Pause, Run, SetAside, Step, Worker
from videos.durable.paid.models import Breaker, Budget, Call, MonthlyUsage
from videos.models.api import ApiKey, IdempotentRequest, Webhook, WebhookDelivery
from videos.models.chapters import Chapter
from videos.models.emails import EmailItem, EmailWish
from videos.models.search_index import (
    Chunk,
    Embedding,
    Lexeme,
    LexemeChange,
    Passage,
    Revision,
    ServingModel,
)
from videos.models.transcript import (
    AudioPart,
    Correction,
    Glossary,
    ProbedModel,
    Segment,
    Transcript,
    UnfitCorrection,
)
from videos.models.upload import Upload
from videos.models.video import StorageDeletion, Video

__all__ = [
    "ACTIVE_STATES",
    "ApiKey",
    "AudioPart",
    "Breaker",
    "Budget",
    "Call",
    "Chapter",
    "Chunk",
    "Correction",
    "EmailItem",
    "EmailWish",
    "Embedding",
    "Event",
    "Glossary",
    "IdempotentRequest",
    "Lexeme",
    "LexemeChange",
    "MonthlyUsage",
    "Passage",
    "Pause",
    "ProbedModel",
    "Revision",
    "Run",
    "Segment",
    "ServingModel",
    "SetAside",
    "Step",
    "StorageDeletion",
    "Transcript",
    "UnfitCorrection",
    "Upload",
    "Video",
    "Webhook",
    "WebhookDelivery",
    "Worker",
]
