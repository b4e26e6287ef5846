"""What processing videos again would use, told before anything is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Sum

from videos import ledger
from videos.conf import conf
from videos.models import Chunk, Video
from videos.pipelines import resumable_stage


@dataclass(frozen=True)
class Estimate:
    """What processing again would use; USD by the prices of the configured models."""

    audio_seconds: float
    embedding_tokens: int
    cost_usd: float


def estimate(videos: Iterable[Video], from_stage: str | None) -> Estimate:
    """Return what processing these videos again from a stage would use."""
    listed = list(videos)
    heard = [
        video
        for video in listed
        if not video.captions and (from_stage or resumable_stage(video)) == "transcribe"
    ]
    audio_seconds = sum(video.duration_s or 0.0 for video in heard)
    tokens = (
        Chunk.objects.filter(revision__in=[video.revision_id for video in listed]).aggregate(
            tokens=Sum("token_count")
        )["tokens"]
        or 0
    )
    cost = ledger.cost_usd(conf().transcription_model, audio_seconds=audio_seconds)
    # Passages repeat the text of their chunk.
    cost += ledger.cost_usd(conf().embedding_model, tokens=2 * tokens)
    return Estimate(round(audio_seconds, 3), 2 * tokens, float(cost))
