"""What there is: event types, and the durable functions that they start, stage by stage."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Stage:
    """One actor's work in a run; it ends by advancing or completing the run."""

    actor: str
    perform: Callable[[Claim], None]
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
    #: Creates the runs for an event; none means one run, whatever the event says.
    start: Callable[[Event, Function], list[Run]] | None = None
    #: Name of the function whose run is started when a run of this one fails for good.
    on_failure: str | None = None

    def stages_from(self, stage: str) -> list[str]:
        """Return the names of the stage and of those after it."""
        names = list(self.stages)
        return names[names.index(stage) :]


@dataclass(frozen=True)
class Chore:
    """What the sweep of some worker does beside runs, whenever there is something to do."""

    due: Callable[[], QuerySet[Any]]
    perform: Callable[[], object]


@dataclass
class Registry:
    """All event types, functions and chores; filled when `actors` modules are imported."""

    types: dict[str, EventType] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    chores: dict[str, Chore] = field(default_factory=dict)

    def add_type(self, name: str, data: Any, *, emitted: bool = False) -> None:
        """Register an event type; the same name with another class is a mistake.

        Raises:
            ValueError: if the name has another data class already, or is too long, or the data
                class is none.
        """
        _check_name("event", name)
        if not isinstance(data, type):
            raise ValueError(f"the event {name!r} has {data!r} in place of a data class")
        known = self.types.get(name)
        if known is not None and known.data is not data:
            raise ValueError(f"the event {name!r} has the data class {known.data.__name__}")
        # To subscribe to what Chronos emits does not open it for being sent.
        self.types[name] = EventType(name, data, emitted or (known is not None and known.emitted))

    def add_function(self, function: Function) -> None:
        """Register a function under its name.

        Raises:
            ValueError: if the name is taken, or something of it can never work.
        """
        if function.name in self.functions:
            raise ValueError(f"there is a function {function.name!r} already")
        check_function(function)
        self.functions[function.name] = function

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
        if not 0 < stage.deadline_s <= MAX_WAIT_S:
            raise ValueError(
                f"{function.name}: a deadline is more than 0 s and at most {MAX_WAIT_S} s, not "
                f"{stage.deadline_s}"
            )


def check_callee(callee: Callable[..., object]) -> None:
    """Refuse a callable that cannot be called as `callee(run, data)`.

    Raises:
        ValueError: naming it.
    """
    for is_of_kind in _NEVER_CALLED_THROUGH:
        if is_of_kind(callee):
            raise ValueError(
                f"{callee.__name__} is a coroutine or a generator: a call does nothing"
            )
    try:
        inspect.signature(callee).bind(None, None)
    except TypeError as error:
        raise ValueError(f"{callee.__name__} is called as f(run, data): {error}") from None


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= _MAX_NAME or has_unstorable(name):
        raise ValueError(
            f"the {what} {name!r} has a name of {len(name)} characters, {_MAX_NAME} at most"
        )


registry = Registry()
