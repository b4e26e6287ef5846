"""Durable functions: how an app's plain function becomes a Dramatiq actor whose runs survive."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

import dramatiq

from videos.durable import paid_calls, runs, steps
from videos.durable.claims import Claim
from videos.durable.execution import execute
from videos.durable.models import Run, Step
from videos.durable.outbox import parse_as
from videos.durable.paid_calls import Ask, PaidAnswer, PaidCall
from videos.durable.registry import WHOLE, Function, Stage, check_callee, check_function, registry
from videos.durable.retries import DEFAULT_RETRIES
from videos.exceptions import Asleep, FunctionFault
from videos.text.storable import has_unstorable, json_problem

_DAY_S = 24 * 3600
#: Names of steps that begin so are ours.
_RESERVED = "("
_MAX_STEP_NAME = 200
_MAX_SERVICE_NAME = 16

Callee = TypeVar("Callee", bound=Callable[..., object])
Result = TypeVar("Result")


def function(
    event: str,
    *,
    data: Any,
    retries: int = DEFAULT_RETRIES,
    queue: str = "default",
    deadline_s: float = 3600,
    pays: bool = False,
    name: str | None = None,
    on_failure: Callable[[RunContext, Any], object] | None = None,
) -> Callable[[Callee], Callee]:
    """Make `def f(run, data)` a durable function, started by `event`.

    Args:
        event: the event's name; a new one becomes known by this.
        data: its data class: a pydantic model or a dataclass.
        retries: how often a failed step is tried again.
        queue: the Dramatiq queue of its messages.
        deadline_s: seconds after which a run is ended as `timed_out`.
        pays: whether it makes paid calls, so that no run of it starts once a month's budget is
            spent.
        name: what lists show; without one, where it stands: "app.function".
        on_failure: called as `on_failure(run, data)`, in a durable run of its own, when a run
            has failed for good; `run.error` and `run.error_code` say why.

    Raises:
        ValueError: for what can never work: a name that is too long (100 characters, that of the
            failure handler included) or taken, a queue that no broker takes, a callable that does
            not take two arguments.
    """

    def register(callee: Callee) -> Callee:
        registry.add_type(event, data)
        known = name or f"{callee.__module__.removesuffix('.actors')}.{callee.__name__}"
        handler = f"{known}.on_failure" if on_failure else None
        functions = []
        for entry, starts, call, after in [
            (handler, None, on_failure, None),
            (known, event, callee, handler),
        ]:
            if entry is not None and call is not None:
                check_callee(call, "run", "data")
                stage = Stage(entry, partial(_call, call, data), retries, deadline_s)
                functions.append(
                    Function(entry, starts, {WHOLE: stage}, queue, failure_handler=after, pays=pays)
                )
                check_function(functions[-1])
        for registered in functions:
            registry.add_function(registered)
            declare_actor(registered.name, WHOLE, queue)
        return callee

    return register


def declare_actor(name: str, stage: str, queue: str = "default") -> dramatiq.Actor[[str], None]:
    """Declare the Dramatiq actor that executes a stage: it takes the run's id, no more.

    Retries, deadlines and failures are Postgres' (`runs`), so Dramatiq's own are off.
    """

    def execute_stage(run_id: str) -> None:
        execute(UUID(run_id), stage)

    # A broker knows only the options of its own middleware.
    known = dramatiq.get_broker().actor_options
    off = {"max_retries": 0, "time_limit": _DAY_S * 1000}
    options: dict[str, Any] = {option: off[option] for option in off if option in known}
    return dramatiq.actor(actor_name=name, queue_name=queue, **options)(execute_stage)


class RunContext:
    """What a durable function gets as `run`."""

    def __init__(self, claim: Claim, run: Run) -> None:
        self._claim = claim
        self.id = run.pk
        self.attempt = run.attempt
        #: Why the run failed whose failure is being handled; empty in any other run.
        self.error = run.parent.error if run.parent else ""
        self.error_code = run.parent.error_code if run.parent else ""
        self._names: set[str] = set()
        self._ended_by: BaseException | None = None

    def step(self, name: str, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Call `call` once and keep its JSON result; a retried run gets that without a call.

        The result is what JSON makes of it, in the first attempt as in later ones: a tuple is a
        list, a key is a text. Names must be unique within a run, have 1 to 200 characters, and
        not begin with a parenthesis.

        Raises:
            FunctionFault: for a name that was used before or cannot be one, or a result that
                Postgres cannot hold as JSON; the run fails at once, without another call.
        """
        result: Result = self._ending(self._once, name, partial(call, *args, **kwargs))
        return result

    def sleep(self, name: str, seconds: float) -> None:
        """Go on so many seconds after this was asked for first, with another worker if need be.

        Nothing is held meanwhile: no thread, no slot. What comes before it in the function has to
        be in steps, since the function is called anew.

        Raises:
            FunctionFault: for a name that was used before or cannot be one.
        """
        self._ending(self._sleep_once, name, seconds)

    def paid_step(
        self, name: str, service: str, model: str, ask: Ask[PaidAnswer], *, tokens: int = 0
    ) -> Any:
        """Make a paid call once, and keep its JSON result; a retried run gets that without a call.

        It passes the circuit breaker and the limits (CHRONOS_LIMITS) of its service, and is booked
        in the ledger before it leaves; what it used is booked with its result.

        Args:
            name: of the step, as for `step`.
            service: up to 16 characters, such as "chat".
            model: what the ledger books; its price is looked for in CHRONOS_PRICES.
            ask: called as `ask(model=…, call_id=…, within_s=…)`; what it raises is retried,
                waited for or final, as the class of a ChronosError says.
            tokens: an estimate, for the limit of tokens.

        Raises:
            FunctionFault: as `step`.
        """
        _check_ask(name, service, ask)
        return self._ending(self._paid_once, name, PaidCall(service, model, tokens, ask))

    def raise_if_ended(self) -> None:
        """Raise once more what ended a step, if the function has swallowed it."""
        if self._ended_by is not None:
            raise self._ended_by

    def _ending(self, do: Callable[..., Result], name: str, *args: Any) -> Result:
        """Do a step, and remember what ends it.

        The function may swallow it; it would go on in a run that has ended or must wait.
        """
        self.raise_if_ended()
        try:
            self._take_name(name)
            self._claim.check()
            return do(name, *args)
        except BaseException as error:
            self._ended_by = error
            raise

    def _take_name(self, name: str) -> None:
        is_text = isinstance(name, str) and 0 < len(name) <= _MAX_STEP_NAME
        if not is_text or name.startswith(_RESERVED) or has_unstorable(name):
            raise FunctionFault(
                f"{str(name)[:_MAX_STEP_NAME]!r} cannot be the name of a step: "
                f"1 to {_MAX_STEP_NAME} characters, not beginning with {_RESERVED!r}. Correct the "
                "function, then send the event again."
            )
        if name in self._names:
            raise FunctionFault(
                f"The function has two steps named {name!r}: the second would get the result of "
                "the first. Give each a name of its own, then send the event again."
            )
        self._names.add(name)

    def _once(self, name: str, call: Callable[[], Result]) -> Result:
        with steps.step(self._claim, name) as row:
            if row.state == Step.State.DONE:
                return cast(Result, row.result)
            stored = as_result(name, call())
            with self._claim.guard() as run:
                steps.finish(run, row, stored)
        return stored

    def _sleep_once(self, name: str, seconds: float) -> None:
        with steps.step(self._claim, name) as row:
            if row.state == Step.State.DONE:
                return
            slept_s = steps.seconds_since_begun(row)
            if slept_s < seconds:
                raise Asleep("The function goes on later.", retry_after_s=seconds - slept_s)
            with self._claim.guard() as run:
                steps.finish(run, row)

    def _paid_once(self, name: str, paid: PaidCall[PaidAnswer]) -> Any:
        with steps.step(self._claim, name) as row:
            if row.state == Step.State.DONE:
                return row.result
            call, returned = paid_calls.make(self._claim, row, paid)
            answer: object = returned
            if not isinstance(answer, PaidAnswer):
                paid_calls.answer(call, used=False)
                raise FunctionFault(
                    f"The step {name!r} was answered with {type(answer).__name__}, not with a "
                    "PaidAnswer. It is paid, and not repeated: correct what is asked, then "
                    "reprocess or send the event again."
                )
            with paid_calls.booked_if_lost(call, **answer.measured):
                stored = as_result(name, answer.result)
            paid_calls.settle(
                self._claim,
                call,
                lambda settled: steps.finish(settled.run, row, stored),
                **answer.measured,
            )
        return stored


def _check_ask(name: str, service: str, ask: Any) -> None:
    """Refuse a paid step that could never be asked or booked, before anything is paid."""
    if not 0 < len(service) <= _MAX_SERVICE_NAME:
        raise FunctionFault(
            f"The step {name!r} names the service {service!r}: 1 to {_MAX_SERVICE_NAME} characters."
        )
    try:
        inspect.signature(ask).bind(model="", call_id=UUID(int=0), within_s=0.0)
    except TypeError as error:
        raise FunctionFault(
            f"The step {name!r} is asked by a callable that does not take model, call_id and "
            f"within_s: {error}."
        ) from None


def as_result(name: str, result: Result) -> Result:
    """Return what JSON makes of a step's result.

    Raises:
        FunctionFault: if Postgres cannot hold it as JSON.
    """
    if problem := json_problem(result):
        raise FunctionFault(
            f"The result of the step {name!r} cannot be kept, {problem}. What the step did "
            "is done, and is not repeated: correct what it returns, then send the event "
            "again."
        )
    stored: Result = json.loads(json.dumps(result))
    return stored


def _call(callee: Callable[[RunContext, Any], object], data_type: Any, claim: Claim) -> None:
    """Call the function that is the one stage of a run, and complete the run.

    Raises:
        BaseException: whatever ended one of its steps, also if the function has swallowed it.
    """
    run = Run.objects.select_related("parent").get(pk=claim.run.pk)
    data = parse_as(data_type, run.data)
    context = RunContext(claim, run)
    callee(context, data)
    context.raise_if_ended()
    with claim.guard() as held:
        runs.complete(held)
