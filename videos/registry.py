"""What there is: event types, and the durable functions that they start, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videos.retries import DEFAULT_RETRIES

if TYPE_CHECKING:
    from videos.claims import Claim
    from videos.models import Event, Run


#: The stage of a function that has no stages of its own.
WHOLE = "run"


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


@dataclass
class Registry:
    """All event types and functions; filled when `actors` modules are imported."""

    types: dict[str, EventType] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def add_type(self, name: str, data: Any, *, emitted: bool = False) -> None:
        """Register an event type; the same name with another class is a mistake.

        Raises:
            ValueError: if the name has another data class already.
        """
        known = self.types.get(name)
        if known is not None and known.data is not data:
            raise ValueError(f"the event {name!r} has the data class {known.data.__name__}")
        self.types[name] = EventType(name, data, emitted)

    def add_function(self, function: Function) -> None:
        """Register a function under its name.

        Raises:
            ValueError: if the name is taken.
        """
        if function.name in self.functions:
            raise ValueError(f"there is a function {function.name!r} already")
        self.functions[function.name] = function

    def started_by(self, event: str) -> Iterator[Function]:
        """Yield the functions that an event of this name starts."""
        return (entry for entry in self.functions.values() if entry.event == event)


registry = Registry()
