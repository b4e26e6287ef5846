"""Writing the ledger: a row before a paid call leaves, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from videos.conf import conf
from videos.exceptions import ChronosError
from videos.models import Call, Run, Step

#: USD by model, as published by OpenAI: a minute of audio, or a million tokens.
#: whisper-1, gpt-transcribe, text-embedding-3-small: platform.openai.com/docs/pricing.
_PRICES: dict[str, dict[str, float]] = {
    "whisper-1": {"minute": 0.006},
    "gpt-4o-transcribe": {"minute": 0.006},
    "gpt-4o-transcribe-diarize": {"minute": 0.006},
    "gpt-4o-mini-transcribe": {"minute": 0.003},
    "gpt-transcribe": {"minute": 0.0045},
    "text-embedding-3-small": {"million_tokens": 0.02},
    "text-embedding-3-large": {"million_tokens": 0.13},
    "text-embedding-ada-002": {"million_tokens": 0.10},
}
_ERROR_MAX_LENGTH = 1_000
_LONGEST_CALL = timedelta(minutes=15)


def cost_usd(model: str, *, audio_seconds: float = 0.0, tokens: int = 0) -> Decimal:
    """Return what a call costs in USD; 0 for a model without a price (see CHRONOS_PRICES)."""
    price = conf().prices.get(model) or _PRICES.get(model) or {}
    cost = audio_seconds / 60 * price.get("minute", 0.0)
    cost += tokens / 1_000_000 * price.get("million_tokens", 0.0)
    return Decimal(str(round(cost, 8)))


def send_calls(run: Run, steps: Iterable[Step], service: Call.Service, model: str) -> list[Call]:
    """Book one call for each step as sent; commit it before the request leaves."""
    return Call.objects.bulk_create(
        Call(
            creator_id=run.creator_id,
            creator_name=run.creator.get_username() if run.creator else "",
            video_id=run.video_id,
            run_id=run.pk,
            step_id=step.pk,
            service=service,
            model=model,
        )
        for step in steps
    )


def answer_call(
    call_id: UUID,
    *,
    used: bool,
    model: str,
    audio_seconds: float = 0.0,
    tokens: int = 0,
) -> None:
    """Book the answer, in the transaction that stores the step's result when it is `used`."""
    Call.objects.filter(pk=call_id).update(
        state=Call.State.ANSWERED,
        http_status=200,
        used=used,
        audio_seconds=audio_seconds,
        tokens=tokens,
        cost_usd=cost_usd(model, audio_seconds=audio_seconds, tokens=tokens),
        settled_at=Now(),
    )


def fail_call(call_id: UUID, error: BaseException) -> None:
    """Book a call without a usable answer: failed, or unknown when nobody can tell its cost.

    A status is an answer of the service. A call that broke off may have been paid.
    """
    status = error.http_status if isinstance(error, ChronosError) else None
    Call.objects.filter(pk=call_id).update(
        state=Call.State.FAILED if status else Call.State.UNKNOWN,
        http_status=status,
        error=str(error)[:_ERROR_MAX_LENGTH],
        settled_at=Now(),
    )


def forget_calls(run_ids: Iterable[UUID]) -> int:
    """Book the open calls of runs whose worker died as unknown; return how many."""
    return _forget(Call.objects.filter(run_id__in=list(run_ids)))


def forget_orphans() -> int:
    """Book open calls as unknown that no running run waits for any more; return how many."""
    running = Run.objects.filter(state=Run.State.RUNNING).values("pk")
    long_ago = Call.objects.filter(sent_at__lt=Now() - _LONGEST_CALL)
    return _forget(long_ago.exclude(run_id__in=running) | long_ago.filter(run_id=None))


def _forget(calls: QuerySet[Call]) -> int:
    return calls.filter(state=Call.State.SENT).update(
        state=Call.State.UNKNOWN, error="Whoever sent it died.", settled_at=Now()
    )
