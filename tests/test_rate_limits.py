"""Requests and tokens of any minute, exact however many processes send."""

import threading

import pytest
from django.db import connection, transaction

from tests.conftest import ended, eventually
from videos.durable.paid import rate_limits
from videos.exceptions import BudgetSpent, OverBudget
from videos.models import Call, Run

pytestmark = pytest.mark.django_db(transaction=True)


def book(tokens):
    with transaction.atomic():
        count = rate_limits.affordable("embedding", tokens)
        Call.objects.bulk_create(
            Call(service="embedding", model="m", reserved_tokens=each) for each in tokens[:count]
        )
    return count


def test_many_senders_never_exceed_it(settings):
    settings.CHRONOS_EMBEDDING_REQUESTS_PER_MINUTE = 7
    barrier = threading.Barrier(8)

    def send():
        barrier.wait()
        try:
            while True:
                book([1])
        except BudgetSpent:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Call.objects.count() == 7


def test_as_many_calls_leave_as_tokens_allow(settings):
    settings.CHRONOS_EMBEDDING_TOKENS_PER_MINUTE = 10

    assert book([4, 4, 4]) == 2
    with pytest.raises(BudgetSpent) as spent:
        book([4])
    assert 50 < spent.value.retry_after_s <= 60


def test_a_call_that_never_fits_says_so(settings):
    settings.CHRONOS_EMBEDDING_TOKENS_PER_MINUTE = 10

    with pytest.raises(OverBudget, match="TOKENS_PER_MINUTE"):
        book([11])


def test_a_run_waits_for_the_next_minute_and_spends_no_retry(upload, worker, openai, settings):
    settings.CHRONOS_EMBEDDING_REQUESTS_PER_MINUTE = 1
    Call.objects.create(service="embedding", model="m")
    video = upload()

    waiting = eventually(Run.objects.filter(state="waiting", waiting_reason="budget").first)
    assert waiting.next_attempt_at is not None
    assert waiting.deaths == 0
    assert len(openai.embedded()) == 0

    Call.objects.filter(service="embedding").delete()
    Run.objects.update(next_attempt_at=waiting.created_at)
    assert ended(video).status == "completed"
