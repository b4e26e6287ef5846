"""Paid steps of other apps' functions: asked once, booked whatever comes back."""

import itertools
from dataclasses import dataclass

import pytest

from tests.conftest import eventually
from videos import events
from videos.durable.registry import registry
from videos.exceptions import Rejected, ServiceUnavailable
from videos.models import Call, Run
from videos.stages import PaidAnswer, stage

pytestmark = pytest.mark.django_db(transaction=True)

#: An actor stays registered with the broker for as long as this process lives.
NUMBERS = itertools.count()


@dataclass
class Order:
    number: int = 1


@pytest.fixture
def pay(worker):
    """Run a function with one paid step that is asked so; return how the run ended."""
    names = []

    def run(ask, service="chat"):
        def order(run, data):
            run.paid_step("pay", service, "tiny", ask, tokens=10)

        order.__name__ = order.__qualname__ = f"order_{next(NUMBERS)}"
        names.append(order.__name__)
        events.function(f"test/{order.__name__}", data=Order, retries=1)(order)
        sent = events.send(f"test/{order.__name__}", {})
        ended = ("completed", "failed")
        return eventually(lambda: Run.objects.filter(event=sent, state__in=ended).first())

    yield run
    for name in names:
        del registry.types[f"test/{name}"]
        del registry.functions[f"{__name__}.{name}"]


def booked():
    calls = Call.objects.filter(service="chat").order_by("sent_at")
    return [(call.state, call.used, call.tokens) for call in calls]


def test_an_answer_is_stored_and_booked_together(pay):
    run = pay(lambda *, model, call_id, within_s: PaidAnswer({"text": model}, tokens=7))

    assert (run.state, run.steps.get().result) == ("completed", {"text": "tiny"})
    assert booked() == [("answered", True, 7)]


def test_an_answer_of_another_kind_is_paid_once_and_not_repeated(pay):
    run = pay(lambda *, model, call_id, within_s: "a text")

    assert run.state == "failed"
    assert "not with a PaidAnswer" in run.error
    assert booked() == [("answered", False, 0)]


@pytest.mark.parametrize(
    ("ask", "service", "said"),
    [
        (lambda text: text, "chat", "does not take model, call_id and within_s"),
        (PaidAnswer("x"), "chat", "does not take model, call_id and within_s"),
        (print, "a service of too long a name", "1 to 16 characters"),
    ],
)
def test_what_could_never_be_asked_or_booked_is_refused_before_it_is_paid(pay, ask, service, said):
    run = pay(ask, service)

    assert said in run.error
    assert not Call.objects.exists()


def test_a_refusal_is_no_unknown_call_and_an_outage_is_retried(pay):
    raised = [Rejected("No."), ServiceUnavailable("Down.", http_status=503)]

    def ask(*, model, call_id, within_s):
        raise raised.pop()

    run = pay(ask)

    assert (run.state, run.error) == ("failed", "No.")
    assert booked() == [("failed", False, 0), ("failed", False, 0)]


def test_what_a_run_waited_for_is_no_error_of_it_once_it_is_completed(pay):
    raised = [ServiceUnavailable("Down.", http_status=503)]

    def ask(*, model, call_id, within_s):
        if raised:
            raise raised.pop()
        return PaidAnswer(1)

    run = pay(ask)

    assert (run.state, run.error, run.error_code) == ("completed", "", "")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "my stage!", "after": "chunk"}, "small letters"),
        ({"name": "mine", "after": "chunks"}, "there is no stage 'chunks' yet"),
        ({"name": "mine", "after": "finish"}, "no stage comes after"),
        ({"name": "mine", "after": "chunk", "weight": -3}, "more than 0"),
        ({"name": "embed", "after": "chunk"}, "already"),
    ],
)
def test_a_stage_that_can_never_work_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        stage(**wrong)(lambda run: None)
