"""What there is: event types, and the durable functions that they start, stage by stage."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from videos.durable.retries import DEFAULT_RETRIES
from videos.exceptions import MAX_WAIT_S
from videos.text.storable import has_unstorable

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from videos.durable.claims import Claim
    from videos.durable.models import Event, Run


#: The stage of a function that has no stages of its own.
WHOLE = "run"
#: What the columns hold; a name that does not fit would fail each of its runs, for ever.
_MAX_NAME = 100
_MAX_STAGE_NAME = 32
#: A name of a queue that every broker takes (dramatiq.actor).
_NEVER_CALLED_THROUGH = (
    *(inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction),
)
_QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")


@dataclass(frozen=True)
class EventType:
    """An event's name and data class; an emitted one is refused from outside."""

    name: str
    data: Any
    emitted: bool = False
    #: Called as `check(name, data)` before an event is stored; raises EventRefused.
    check: Callable[[str, Any], object] | None = None
    #: Returns what an event's data is about: the id of a video; none means nothing.
    subject: Callable[[Any], UUID] | None = None


@dataclass(frozen=True)
class Stage:
    """One actor's work in a run; it ends by advancing the run (`runs.advance`)."""

    actor: str
    work: Callable[[Claim], object]
    retries: int = DEFAULT_RETRIES
    #: Seconds after which the stage is ended as `timed_out`, unless it asks for more.
    deadline_s: float = 3600


@dataclass(frozen=True)
class Function:
    """What an event starts: stages by name, in their order."""

    name: str
    event: str | None
    stages: Mapping[str, Stage]
    queue: str = "default"
    #: Creates the runs for an event; with neither this nor `start_all`, it is one run.
    start: Callable[[Event, Function], list[Run]] | None = None
    #: The same for many events at once, by as many statements as for one.
    start_all: Callable[[Sequence[Event], Function], list[Run]] | None = None
    #: Name of the function whose run is started when a run of this one fails for good.
    failure_handler: str | None = None
    #: Whether its runs make paid calls, so that they do not start once a month's budget is spent.
    pays: bool = False

    def stages_from(self, stage: str) -> list[str]:
        """Return the names of the stage and of those after it."""
        names = list(self.stages)
        return names[names.index(stage) :]


class Hooks:
    """Told what happens to runs, in the transaction in which it does. Here: nothing follows.

    They hear of every run, so also of one whose function no installed app has any more.
    """

    def entered(self, run: Run, stage: str) -> None:
        """A worker begins a stage of a run: this one, which the stage gets as it is left here."""

    def failed(self, run: Run, code: str, message: str) -> None:
        """A run has failed for good."""

    def cancelled(self, run: Run) -> None:
        """Somebody cancelled a run, and it has ended."""


@dataclass(frozen=True)
class Chore:
    """What the sweep of some worker does beside runs, whenever there is something to do."""

    due: Callable[[], QuerySet[Any]]
    do: Callable[[], object]


@dataclass
class Registry:
    """All event types, functions and chores; filled when `actors` modules are imported."""

    types: dict[str, EventType] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    chores: dict[str, Chore] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    #: Modules that workers load when they start, and that nobody else needs.
    worker_modules: list[str] = field(default_factory=list)

    def add_type(
        self,
        name: str,
        data: Any,
        *,
        emitted: bool = False,
        check: Callable[[str, Any], object] | None = None,
        subject: Callable[[Any], UUID] | None = None,
    ) -> None:
        """Register an event type; the same name with another class is a mistake.

        To subscribe to what is known already, by its name and class, changes nothing of it.

        Raises:
            ValueError: if the name has another data class already, or is too long, or the data
                class is none.
        """
        _check_name("event", name)
        if not isinstance(data, type):
            raise ValueError(f"the event {name!r} has {data!r} in place of a data class")
        known = self.types.setdefault(name, EventType(name, data, emitted, check, subject))
        if known.data is not data:
            raise ValueError(f"the event {name!r} has the data class {known.data.__name__}")

    def add_function(self, function: Function) -> None:
        """Register a function under its name.

        Raises:
            ValueError: if the name is taken, or something of it can never work.
        """
        if function.name in self.functions:
            raise ValueError(f"there is a function {function.name!r} already")
        check_function(function)
        self.functions[function.name] = function

    def deadlines(self, stage: str) -> dict[str, float]:
        """Return the seconds that a stage may take, by the functions that have it."""
        known = ((name, entry.stages.get(stage)) for name, entry in self.functions.items())
        return {name: its.deadline_s for name, its in known if its}

    def that_pay(self) -> list[str]:
        """Return the names of the functions whose runs make paid calls."""
        return [name for name, function in self.functions.items() if function.pays]

    def started_by(self, event: str) -> Iterator[Function]:
        """Yield the functions that an event of this name starts."""
        return (entry for entry in self.functions.values() if entry.event == event)


def check_function(function: Function) -> None:
    """Refuse what no run could ever come to an end with.

    Raises:
        ValueError: naming what is wrong, and with what.
    """
    _check_name("function", function.name)
    if not _QUEUE_NAME.fullmatch(function.queue) or len(function.queue) > _MAX_NAME:
        raise ValueError(f"{function.name}: {function.queue!r} cannot be the name of a queue")
    if function.start is not None and function.start_all is not None:
        raise ValueError(f"{function.name}: runs are started one by one, or together")
    if not function.stages:
        raise ValueError(f"{function.name}: a function has at least one stage")
    for name, stage in function.stages.items():
        if not 0 < len(name) <= _MAX_STAGE_NAME:
            raise ValueError(
                f"{function.name}: the stage {name!r} has a name of {len(name)} characters, "
                f"{_MAX_STAGE_NAME} at most"
            )
        if not isinstance(stage.retries, int) or stage.retries < 0:
            raise ValueError(f"{function.name}: retries are 0 or more, not {stage.retries!r}")
        is_number = isinstance(stage.deadline_s, int | float)
        if not is_number or not 0 < stage.deadline_s <= MAX_WAIT_S:
            raise ValueError(
                f"{function.name}: a deadline is more than 0 s and at most {MAX_WAIT_S} s, not "
                f"{stage.deadline_s}"
            )


def check_callee(callee: Callable[..., object], *parameters: str) -> None:
    """Refuse a callable that cannot be called with these parameters.

    Raises:
        ValueError: naming it.
    """
    for is_of_kind in _NEVER_CALLED_THROUGH:
        if is_of_kind(callee):
            raise ValueError(
                f"{callee.__name__} is a coroutine or a generator: a call does nothing"
            )
    try:
        inspect.signature(callee).bind(*parameters)
    except TypeError as error:
        called = f"f({', '.join(parameters)})"
        raise ValueError(f"{callee.__name__} is called as {called}: {error}") from None


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= _MAX_NAME or has_unstorable(name):
        raise ValueError(
            f"the {what} {name!r} has a name of {len(name)} characters, {_MAX_NAME} at most"
        )


registry = Registry()
