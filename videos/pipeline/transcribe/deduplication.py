"""The same file of the same creator is transcribed once, however often it is uploaded."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from videos.durable import runs, transactions
from videos.durable.transactions import after_commit
from videos.exceptions import SameContent
from videos.models import ACTIVE_STATES, AudioPart, Run, Transcript
from videos.pipeline import segments

_ROWS_PER_STATEMENT = 1_000
#: Seconds until a run looks again whether the other run has ended; its success is told at once.
_LOOK_AGAIN_S = 10.0
_TAKEN_OVER = (
    "duration_ms",
    "truncated",
    "warnings",
    "language",
    "coverage",
    "cut_at",
    "completed_at",
)


def lock_content(source_hash: str, creator_id: Any) -> None:
    """Let others who begin with the same bytes wait until this transaction ends."""
    transactions.hold_text(f"{creator_id} {source_hash}")


def has_equal(transcript: Transcript, creator_id: Any) -> bool:
    """Whether there is another transcript of the same bytes, model, language and prompt."""
    return _equal(transcript, creator_id).exists()


def find(transcript: Transcript, creator_id: Any) -> Transcript | None:
    """Return a complete transcript of the same bytes, model, language and prompt, if there is one.

    Raises:
        SameContent: if another run is just making it, and began before this one.
    """
    equal = _equal(transcript, creator_id)
    complete = equal.filter(completed_at__isnull=False).order_by("-completed_at").first()
    if complete is not None:
        return complete
    making = equal.filter(
        created_at__lt=transcript.created_at, revisions__runs__state__in=ACTIVE_STATES
    ).first()
    if making is None:
        return None
    raise SameContent(
        f"The same file is being transcribed for video {making.video_id}: its transcript will be "
        "reused here at no cost.",
        retry_after_s=_LOOK_AGAIN_S,
    )


def copy(complete: Transcript, transcript: Transcript, audio: str) -> int:
    """Fill a transcript with what a complete one holds; return the number of segments.

    Call it inside the claim's guard. What the other cost is not booked again. `audio` is the
    name under which its audio was stored for this video too.

    Raises:
        Transcript.DoesNotExist: if the complete one was deleted meanwhile.
    """
    # Whoever deletes it waits until it is copied as a whole.
    complete = Transcript.objects.select_for_update().get(pk=complete.pk)
    AudioPart.objects.bulk_create(
        (
            AudioPart(
                transcript=transcript,
                start_ms=part.start_ms,
                end_ms=part.end_ms,
                speech=part.speech,
                result=part.result,
            )
            for part in complete.parts.all()
        ),
        batch_size=_ROWS_PER_STATEMENT,
    )
    count = segments.insert(transcript, complete.segments.order_by("index"))
    taken = {name: getattr(complete, name) for name in _TAKEN_OVER}
    Transcript.objects.filter(pk=transcript.pk).update(audio=audio, **taken)
    return count


def notify(transcript: Transcript, creator_id: Any) -> None:
    """Once this is committed, let the runs go on that wait for this transcript.

    Each has begun a transcript of its own before; one that begins just now looks again by itself.
    """
    if not has_equal(transcript, creator_id):
        return
    waiting = Run.objects.filter(
        waiting_reason=Run.Waiting.PAUSED,
        revision__transcript__in=_equal(transcript, creator_id),
    )
    after_commit(runs.wake, waiting)


def _equal(transcript: Transcript, creator_id: Any) -> QuerySet[Transcript]:
    return Transcript.objects.filter(
        source_hash=transcript.source_hash,
        model=transcript.model,
        asked=transcript.asked,
        video__creator=creator_id,
    ).exclude(pk=transcript.pk)
