"""What processing videos again would use, told before anything is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery, Sum

from videos import ledger
from videos.conf import conf
from videos.models import Chunk, Revision, Video


@dataclass(frozen=True)
class Estimate:
    """What processing again would use; USD by the prices of the configured models."""

    audio_seconds: float
    embedding_tokens: int
    cost_usd: float


def estimate(videos: Iterable[Video], from_stage: str | None) -> Estimate:
    """Return what processing these videos again from a stage would use, by two queries."""
    chosen = videos if isinstance(videos, QuerySet) else _all_of(videos)
    newest = Revision.objects.filter(video=OuterRef("pk")).order_by("-created_at")
    heard = chosen.filter(captions="").order_by()
    if from_stage is None:
        # They resume where they ended: those with a complete transcript, after it.
        heard = heard.annotate(
            transcribed_at=Subquery(newest.values("transcript__completed_at")[:1])
        ).filter(transcribed_at=None)
    elif from_stage != "transcribe":
        heard = heard.none()
    audio_seconds = heard.aggregate(seconds=Sum("duration_s"))["seconds"] or 0.0
    in_force = Chunk.objects.filter(revision__in=Revision.objects.filter(pk__in=_revisions(chosen)))
    tokens = in_force.aggregate(tokens=Sum("token_count"))["tokens"] or 0
    cost = ledger.cost_usd(conf().transcription_model, audio_seconds=audio_seconds)
    # Passages repeat the text of their chunk.
    cost += ledger.cost_usd(conf().embedding_model, tokens=2 * tokens)
    return Estimate(round(audio_seconds, 3), 2 * tokens, float(cost))


def _revisions(videos: QuerySet[Video]) -> QuerySet[Video, Any]:
    return videos.exclude(revision=None).order_by().values("revision")


def _all_of(videos: Iterable[Video]) -> QuerySet[Video]:
    return Video.objects.filter(pk__in=[video.pk for video in videos])
