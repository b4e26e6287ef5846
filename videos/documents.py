"""The JSON documents of videos, runs, transcripts and chunks, as commands print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch, QuerySet

from videos.durable import pauses
from videos.models import (
    ACTIVE_STATES,
    Chunk,
    Embedding,
    Pause,
    Run,
    Segment,
    ServingModel,
    Step,
    Video,
)
from videos.search import Hit
from videos.text import caption_writer

#: Below this share of progress an estimate of the time left would be a guess.
_MIN_PROGRESS = 0.02

FORMATS = {"txt": caption_writer.as_txt, "srt": caption_writer.as_srt, "vtt": caption_writer.as_vtt}


def with_runs(videos: QuerySet[Video]) -> QuerySet[Video]:
    """Load what `video_document` needs, in a constant number of queries."""
    active = pauses.with_ends(Run.objects.filter(state__in=ACTIVE_STATES))
    return videos.select_related("creator").prefetch_related(
        Prefetch("runs", queryset=active, to_attr="active_runs")
    )


def video_document(video: Video) -> dict[str, Any]:
    """Return what commands tell of a video, which `with_runs` has loaded."""
    runs: list[Run] = video.active_runs  # type: ignore[attr-defined]
    run = runs[0] if runs else None
    return {
        "id": str(video.pk),
        "title": video.title,
        "creator": video.creator.get_username(),
        "status": video.status,
        "stage": video.stage or None,
        "progress": round(video.progress, 4),
        "eta_s": eta_s(video, run),
        "waiting_for": run.waiting_for if run else None,
        "duration_s": video.duration_s,
        "language": video.detected_language or video.language or None,
        "coverage": video.coverage,
        "warnings": video.warnings,
        "error": video.error or None,
        "error_code": video.error_code or None,
        "created_at": _iso(video.created_at),
        "completed_at": _iso(video.completed_at),
    }


def eta_s(video: Video, run: Run | None) -> float | None:
    """Return the seconds until completion at the pace so far, or None where nobody can tell."""
    if run is None or run.started_at is None or run.state == Run.State.WAITING:
        return None
    if video.progress < _MIN_PROGRESS:
        return None
    elapsed = (datetime.now(UTC) - run.started_at).total_seconds()
    return round(max(0.0, elapsed * (1 - video.progress) / video.progress), 1)


def run_document(run: Run) -> dict[str, Any]:
    """Return a run with its steps, which the caller has prefetched."""
    return {
        "id": str(run.pk),
        "function": run.function,
        "video_id": str(run.video_id) if run.video_id else None,
        "state": run.state,
        "stage": run.stage,
        "waiting_for": run.waiting_for,
        "attempt": run.attempt,
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "error": run.error or None,
        "error_code": run.error_code or None,
        "steps": [_step_document(step) for step in run.steps.all()],
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "key": step.key,
        "state": step.state,
        "attempts": step.attempts,
        "started_at": _iso(step.started_at),
        "finished_at": _iso(step.finished_at),
        "error": step.error or None,
    }


def transcript_document(video: Video) -> dict[str, Any]:
    """Return the transcript in force, with its timed segments."""
    segments = serving_segments(video)
    return {
        "video_id": str(video.pk),
        "language": video.detected_language or video.language or None,
        "duration_s": video.duration_s,
        "text": " ".join(segment.text for segment in segments),
        "coverage": video.coverage,
        "segments": [
            {
                "index": segment.index,
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "speaker": segment.speaker or None,
                "suspicious": segment.suspicious,
                "timing": segment.timing,
                "words": [
                    {"start": start, "end": end, "word": word} for start, end, word in segment.words
                ],
            }
            for segment in segments
        ],
    }


def serving_segments(video: Video) -> Sequence[Segment]:
    """Return the segments of the revision in force."""
    if video.revision is None:
        return []
    return list(Segment.objects.filter(transcript=video.revision.transcript_id).order_by("index"))


def chunk_documents(video: Video) -> list[dict[str, Any]]:
    """Return the chunks in force, each with the model of its serving vector."""
    serving = ServingModel.objects.first()
    chunks: Iterable[Chunk] = Chunk.objects.none()
    embedded: set[object] = set()
    if video.revision_id:
        chunks = Chunk.objects.filter(revision=video.revision_id).order_by("index")
    if serving is not None:
        vectors = Embedding.objects.filter(
            chunk__revision=video.revision_id,
            segment_index=None,
            model=serving.model,
            dimensions=serving.dimensions,
        )
        embedded = set(vectors.values_list("chunk_id", flat=True))
    return [
        {
            "index": chunk.index,
            "start": chunk.start,
            "end": chunk.end,
            "word_count": chunk.word_count,
            "text": chunk.text,
            "embedding_model": serving.model if serving and chunk.pk in embedded else None,
            "dimensions": serving.dimensions if serving and chunk.pk in embedded else None,
        }
        for chunk in chunks
    ]


def hit_document(hit: Hit) -> dict[str, Any]:
    """Return a moment that a search has found."""
    return {
        "video_id": str(hit.video.pk),
        "title": hit.video.title,
        "start": hit.start,
        "end": hit.end,
        "second": hit.second,
        "jump": hit.jump,
        "chunk_index": hit.chunk_index,
        "score": hit.score,
        "snippet": hit.snippet,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def pause_document(pause: Pause) -> dict[str, Any]:
    """Return a pause as JSON has it."""
    return {
        "kind": pause.kind,
        "name": str(pause.creator) if pause.creator_id else pause.name or None,
        "by": pause.by or None,
        "why": pause.why or None,
        "since": pause.since.isoformat(),
        "until": pause.until.isoformat() if pause.until else None,
    }
