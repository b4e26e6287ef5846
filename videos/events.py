"""The typed events, and the durable functions of any app that they start.

from videos import events

@dataclass
class Greeting:
    name: str

@events.function("my/greeting.requested", data=Greeting)
def greet(run, data: Greeting):
    letter = run.step("write", write_letter, data.name)
    run.step("send", send_letter, letter)

events.send("my/greeting.requested", {"name": "Ada"})
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import dramatiq
from django.db import IntegrityError, transaction
from django.dispatch import Signal
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from videos.durable.registry import WHOLE, Function, Stage, check_callee, check_function, registry
from videos.durable.retries import DEFAULT_RETRIES
from videos.durable.transactions import after_commit
from videos.exceptions import EventRefused, UnknownChunk, UnknownVideo
from videos.models import Chunk, Event, Video
from videos.text.storable import error_message, has_unstorable, json_problem

if TYPE_CHECKING:
    from videos.durable.claims import Claim
    from videos.durable.execution import RunContext

#: Sent with `event` once the transaction that wrote it is committed.
event_recorded = Signal()

_DAY_S = 24 * 3600
_MAX_KEY = 255


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class VideoData(_Data):
    """What every event about one video says."""

    video_id: UUID
    creator_id: int | UUID | str


class TranscribeRequested(VideoData):
    """`video/transcribe.requested`: the whole pipeline."""

    storage_path: str = Field(min_length=1, max_length=500)
    original_filename: str = Field(max_length=1000)
    language: str | None = Field(default=None, max_length=16)
    #: Transcribe a completed video again; vectors of texts that stay the same are kept.
    again: bool = False
    #: The same, and pay again for equal content.
    force: bool = False


class TranscriptionCompleted(VideoData):
    """`video/transcription.completed`: emitted."""

    segment_count: int
    duration_s: float


class ChunkRequested(VideoData):
    """`video/chunk.requested`: from chunking."""

    force: bool = False


class EmbedRequested(VideoData):
    """`video/embed.requested`: from embedding, all chunks or those named; an empty list is none."""

    chunk_ids: list[UUID] | None = Field(default=None, min_length=1)


class BatchReprocess(_Data):
    """`video/embeddings.batch-reprocess`: re-embeds each, on the queue `bulk`."""

    video_ids: list[UUID] = Field(min_length=1)


class VideoCompleted(VideoData):
    """`video/completed`: emitted."""

    duration_s: float
    chunk_count: int


class VideoFailed(VideoData):
    """`video/failed`: emitted."""

    error_code: str
    error: str


for _name, _type, _emitted in [
    ("video/transcribe.requested", TranscribeRequested, False),
    ("video/transcription.completed", TranscriptionCompleted, True),
    ("video/chunk.requested", ChunkRequested, False),
    ("video/embed.requested", EmbedRequested, False),
    ("video/embeddings.batch-reprocess", BatchReprocess, False),
    ("video/cancel.requested", VideoData, False),
    ("video/completed", VideoCompleted, True),
    ("video/failed", VideoFailed, True),
    ("video/cancelled", VideoData, True),
]:
    registry.add_type(_name, _type, emitted=_emitted)

Callee = TypeVar("Callee", bound=Callable[..., object])


def function(
    event: str,
    *,
    data: Any,
    retries: int = DEFAULT_RETRIES,
    queue: str = "default",
    deadline_s: float = 3600,
    on_failure: Callable[[RunContext, Any], object] | None = None,
) -> Callable[[Callee], Callee]:
    """Make `def f(run, data)` a durable function, started by `event`.

    Args:
        event: the event's name; a new one becomes known by this.
        data: its data class: a pydantic model or a dataclass.
        retries: how often a failed step is tried again.
        queue: the Dramatiq queue of its messages.
        deadline_s: seconds after which a run is ended as `timed_out`.
        on_failure: called as `on_failure(run, data)`, in a durable run of its own, when a run
            has failed for good; `run.error` and `run.error_code` say why.

    Raises:
        ValueError: for what can never work: a name that is too long (100 characters, that of the
            failure handler included) or taken, a queue that no broker takes, a callable that does
            not take two arguments.
    """

    def register(callee: Callee) -> Callee:
        registry.add_type(event, data)
        name = f"{callee.__module__.removesuffix('.actors')}.{callee.__name__}"
        handler = f"{name}.on_failure" if on_failure else None
        functions = []
        for entry, starts, call, after in [
            (handler, None, on_failure, None),
            (name, event, callee, handler),
        ]:
            if entry is not None and call is not None:
                check_callee(call)
                stage = Stage(entry, partial(_call, call, data), retries, deadline_s)
                functions.append(Function(entry, starts, {WHOLE: stage}, queue, on_failure=after))
                check_function(functions[-1])
        for registered in functions:
            registry.add_function(registered)
            declare_actor(registered.name, WHOLE, queue)
        return callee

    return register


def _call(callee: Callable[[RunContext, Any], object], data_type: Any, claim: Claim) -> None:
    from videos.durable.execution import call

    call(callee, data_type, claim)


def declare_actor(name: str, stage: str, queue: str = "default") -> dramatiq.Actor[[str], None]:
    """Declare the Dramatiq actor that executes a stage: it takes the run's id, no more.

    Retries, deadlines and failures are Postgres' (`runs`), so Dramatiq's own are off.
    """

    def execute_stage(run_id: str) -> None:
        from videos.durable.execution import execute

        execute(UUID(run_id), stage)

    # A broker knows only the options of its own middleware.
    known = dramatiq.get_broker().actor_options
    off = {"max_retries": 0, "time_limit": _DAY_S * 1000}
    options: dict[str, Any] = {option: off[option] for option in off if option in known}
    return dramatiq.actor(actor_name=name, queue_name=queue, **options)(execute_stage)


def send(name: str, data: Mapping[str, Any], key: str | None = None) -> Event:
    """Store an event, in the caller's transaction; it is dispatched once that commits.

    A key that was sent before under this name returns the first event, and starts nothing.

    Raises:
        EventRefused: for an unknown or an emitted name, or data that does not fit.
    """
    event_type = registry.types.get(name)
    if event_type is None:
        raise EventRefused(
            f"There is no event {name!r}. Known: {', '.join(sorted(registry.types))}.",
            field="name",
        )
    if event_type.emitted:
        raise EventRefused(f"{name!r} is emitted by Chronos and cannot be sent.", field="name")
    if key is not None and not _is_key(key):
        raise EventRefused(
            f"{name}: a key is a text of 1 to {_MAX_KEY} characters, without NUL.", field="key"
        )
    parsed = parse(name, data)
    if has_unstorable(data):
        raise EventRefused(
            f"{name}: Postgres keeps no NUL, no lone surrogate, no NaN and no infinity.",
            field="data",
        )
    _check_videos(name, parsed)
    if isinstance(parsed, EmbedRequested):
        _check_chunks(name, parsed)
    return record(name, parsed, key)


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _MAX_KEY and not has_unstorable(key)


def _check_videos(name: str, parsed: Any) -> None:
    """Refuse an event about videos that do not exist, or that another creator owns."""
    if isinstance(parsed, BatchReprocess):
        known = set(Video.objects.filter(pk__in=parsed.video_ids).values_list("pk", flat=True))
        for number, video_id in enumerate(parsed.video_ids):
            if video_id not in known:
                raise UnknownVideo(
                    f"{name}: there is no video {video_id}.",
                    field=f"video_ids.{number}",
                )
    elif isinstance(parsed, VideoData):
        owner = (
            Video.objects.filter(pk=parsed.video_id).values_list("creator_id", flat=True).first()
        )
        if owner is None:
            raise UnknownVideo(f"{name}: there is no video {parsed.video_id}.", field="video_id")
        if str(owner) != str(parsed.creator_id):
            raise EventRefused(f"{name}: the video has another creator.", field="creator_id")


def _check_chunks(name: str, parsed: EmbedRequested) -> None:
    """Refuse an event that names chunks which the video does not have."""
    named = parsed.chunk_ids or []
    theirs = Chunk.objects.filter(pk__in=named, revision__video=parsed.video_id)
    known = set(theirs.values_list("pk", flat=True))
    for number, chunk_id in enumerate(named):
        if chunk_id not in known:
            raise UnknownChunk(
                f"{name}: the video has no chunk {chunk_id}.", field=f"chunk_ids.{number}"
            )


def emit(name: str, **data: Any) -> Event:
    """Store a fact that Chronos itself states, in the transaction that made it true."""
    return record(name, parse(name, data), None)


def record(name: str, parsed: Any, key: str | None) -> Event:
    """Store validated data as an event, and announce it on commit."""
    data = _as_json(name, parsed)
    try:
        with transaction.atomic():
            event = Event.objects.create(
                name=name,
                key=key,
                data=data,
                video_id=parsed.video_id if isinstance(parsed, VideoData) else None,
            )
    except IntegrityError:
        if key is None:
            raise
        return Event.objects.get(name=name, key=key)
    after_commit(event_recorded.send, sender=Event, event=event)
    return event


def _as_json(name: str, parsed: Any) -> Any:
    try:
        data = TypeAdapter(type(parsed)).dump_python(parsed, mode="json", exclude_none=True)
    except ValueError as error:  # pydantic's own is one.
        raise EventRefused(f"{name}: {error_message(error)}.", field="data") from None
    if problem := json_problem(data):
        raise EventRefused(f"{name}: the data cannot be kept, {problem}.", field="data")
    return data


def parse(name: str, data: Mapping[str, Any]) -> Any:
    """Return the data of an event as its class.

    Raises:
        EventRefused: naming the first field that is missing, wrong or not known.
    """
    try:
        return parse_as(registry.types[name].data, data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "data"
        raise EventRefused(f"{name}: {field_name}: {first['msg']}.", field=field_name) from None


def parse_as(data_type: Any, data: Mapping[str, Any]) -> Any:
    """Return data as a dataclass or pydantic model; a field that is not known is an error.

    Raises:
        pydantic.ValidationError: if the data does not fit.
    """
    if dataclasses.is_dataclass(data_type) and isinstance(data, Mapping):
        known = {entry.name for entry in dataclasses.fields(data_type)}
        extra = sorted(str(name) for name in data if name not in known)
        if extra:
            raise ValidationError.from_exception_data(
                str(data_type),
                [{"type": "extra_forbidden", "loc": (extra[0],), "input": None}],
            )
    return TypeAdapter(data_type).validate_python(data)
