"""What processing videos again would use, told before anything is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, F, OuterRef, QuerySet, Subquery, Sum

from videos.conf import conf
from videos.durable.paid import prices
from videos.models import AudioPart, Chunk, Embedding, Revision, Video
from videos.pipeline import batches
from videos.pipeline.vectors import configured_space, of_chunks

#: English as it is spoken to an audience (National Center for Voice and Speech, "Voice Qualities").
_WORDS_PER_MINUTE = 150
#: OpenAI, "What are tokens and how to count them?": a token is about 3/4 of an English word.
_TOKENS_PER_WORD = 4 / 3


@dataclass(frozen=True)
class Estimate:
    """What processing again would use; USD by the prices of the configured models."""

    audio_seconds: float
    embedding_tokens: int
    cost_usd: float


def estimate(videos: Iterable[Video], from_stage: str | None, *, force: bool = False) -> Estimate:
    """Return what processing these videos again from a stage would use, by three queries.

    What is known already, and would not be asked again, does not count.
    """
    chosen = videos if isinstance(videos, QuerySet) else _all_of(videos)
    newest = Revision.objects.filter(video=OuterRef("pk")).order_by("-created_at")
    recognized = chosen.filter(captions="").order_by()
    if from_stage is None:
        # They resume where they ended: those with a complete transcript, after it.
        recognized = recognized.annotate(
            transcribed_at=Subquery(newest.values("transcript__completed_at")[:1])
        ).filter(transcribed_at=None)
    elif from_stage != "transcribe":
        recognized = recognized.none()
    audio_seconds = recognized.aggregate(seconds=Sum("duration_s"))["seconds"] or 0.0
    if from_stage is None:
        audio_seconds -= _transcribed_s(recognized, newest)
    in_force = Chunk.objects.filter(revision__in=Revision.objects.filter(pk__in=_revisions(chosen)))
    if from_stage not in ("embed", "transcribe") and not force:
        # What is chunked again to the same texts, or not at all, has its vectors already.
        in_force = in_force.filter(~Exists(_vectors()))
    tokens = in_force.aggregate(tokens=Sum("token_count"))["tokens"] or 0
    cost = prices.cost_usd(conf().transcription_model, audio_seconds=audio_seconds)
    tokens *= batches.TIMES_EMBEDDED
    cost += prices.cost_usd(conf().embedding_model, tokens=tokens)
    return Estimate(round(audio_seconds, 3), tokens, float(cost))


def usd_per_hour() -> float:
    """Return what an hour of a new recording is expected to cost, by the configured models."""
    cost = prices.cost_usd(conf().transcription_model, audio_seconds=3600)
    tokens = round(60 * _WORDS_PER_MINUTE * _TOKENS_PER_WORD) * batches.TIMES_EMBEDDED
    return float(cost + prices.cost_usd(conf().embedding_model, tokens=tokens))


def _transcribed_s(videos: QuerySet[Video, Any], newest: QuerySet[Revision]) -> float:
    """Return how much of the videos' last, unfinished transcripts is there already."""
    transcripts = videos.annotate(begun=Subquery(newest.values("transcript")[:1])).values("begun")
    parts = AudioPart.objects.filter(transcript__in=transcripts, result__isnull=False)
    milliseconds = parts.aggregate(sum=Sum(F("end_ms") - F("start_ms")))["sum"]
    return (milliseconds or 0) / 1000


def _vectors() -> QuerySet[Embedding]:
    """Return the configured model's vectors of an outer query's chunk."""
    return of_chunks(configured_space()).filter(chunk=OuterRef("pk"))


def _revisions(videos: QuerySet[Video]) -> QuerySet[Video, Any]:
    return videos.exclude(revision=None).order_by().values("revision")


def _all_of(videos: Iterable[Video]) -> QuerySet[Video]:
    return Video.objects.filter(pk__in=[video.pk for video in videos])
