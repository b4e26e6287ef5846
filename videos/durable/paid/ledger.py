"""Writing the ledger: a row before a paid call leaves, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from videos.durable.models import Run, Step
from videos.durable.paid.models import Breaker, Call
from videos.durable.paid.prices import cost_usd
from videos.exceptions import ChronosError
from videos.text.storable import error_message

_MAX_CALL = timedelta(minutes=15)
_ORPHANED_AFTER = timedelta(seconds=20)
#: A call that is booked as used stays so: whoever books it once more changes nothing.
_ANSWER = f"""
    WITH answered AS (
        UPDATE {Call._meta.db_table}
        SET state = 'answered', http_status = 200, used = %(used)s, error = %(error)s,
            audio_seconds = %(audio_seconds)s, tokens = %(tokens)s, cost_usd = %(cost_usd)s,
            settled_at = statement_timestamp()
        WHERE id = %(call)s AND NOT used
    )
    SELECT EXISTS (
        SELECT FROM {Breaker._meta.db_table} AS breaker
        JOIN {Call._meta.db_table} AS call ON call.service = breaker.service
        WHERE call.id = %(call)s AND breaker.failures > 0
    )
    """


def send_calls(
    run: Run, steps: Sequence[Step], service: str, model: str, tokens: Sequence[int]
) -> list[Call]:
    """Book one call for each step as sent; commit it before the request leaves.

    `tokens` are estimates, for the budget.
    """
    return Call.objects.bulk_create(
        Call(
            creator_id=run.creator_id,
            creator_name=run.creator.get_username() if run.creator else "",
            video_id=run.video_id,
            run_id=run.pk,
            step_id=step.pk,
            service=service,
            model=model,
            reserved_tokens=reserved,
        )
        for step, reserved in zip(steps, tokens, strict=False)
    )


def send_query(service: str, model: str, tokens: int, creator: Any = None) -> Call:
    """Book a call that belongs to no run as sent, to somebody or nobody; commit it first."""
    return Call.objects.create(
        creator=creator,
        creator_name=creator.get_username() if creator else "",
        service=service,
        model=model,
        reserved_tokens=tokens,
    )


def answer_call(
    call_id: UUID,
    *,
    used: bool,
    model: str,
    audio_seconds: float = 0.0,
    tokens: int = 0,
    error: str = "",
) -> bool:
    """Book the answer, in the transaction that stores the step's result when it is `used`.

    Of an answer that was paid and is of no use, `error` says why. Returns whether the service had
    failed before, as its breaker counts.
    """
    given: dict[str, Any] = {
        "call": call_id,
        "error": Call._meta.get_field("error").get_prep_value(error),
        "used": used,
        "audio_seconds": audio_seconds,
        "tokens": tokens,
        "cost_usd": cost_usd(model, audio_seconds=audio_seconds, tokens=tokens),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ANSWER, given)
        return bool(cursor.fetchone()[0])


def fail_call(call_id: UUID, error: BaseException) -> None:
    """Book a call without a usable answer: failed, or unknown when nobody can tell its cost.

    A status is an answer of the service. A call that broke off may have been paid, unless it did
    not even reach it.
    """
    status = error.http_status if isinstance(error, ChronosError) else None
    is_certain = status or (isinstance(error, ChronosError) and error.never_sent)
    Call.objects.filter(pk=call_id).update(
        state=Call.State.FAILED if is_certain else Call.State.UNKNOWN,
        http_status=status,
        error=error_message(error),
        settled_at=Now(),
    )


def forget_calls(run_ids: Iterable[UUID]) -> int:
    """Book the open calls of runs whose worker died as unknown; return how many."""
    return _forget(Call.objects.filter(run_id__in=list(run_ids)))


def forget_orphans() -> int:
    """Book open calls as unknown that nobody waits for any more; return how many."""
    return _forget(orphans())


def orphans() -> QuerySet[Call]:
    """Return the open calls whose run has another owner or has ended; and searches' old ones.

    A worker that is alive after all still writes down what it learns.
    """
    running = Run.objects.filter(pk=OuterRef("run_id"), state=Run.State.RUNNING)
    left = Q(sent_at__lt=Now() - _ORPHANED_AFTER, run_id__isnull=False) & ~Exists(running)
    unanswered = Q(sent_at__lt=Now() - _MAX_CALL, run_id__isnull=True)
    return Call.objects.filter(left | unanswered, state=Call.State.SENT)


def _forget(calls: QuerySet[Call]) -> int:
    # A call that is answered or failed by then is not open, and stays as it was booked.
    return calls.filter(state=Call.State.SENT).update(
        state=Call.State.UNKNOWN, error="The sending process died.", settled_at=Now()
    )
