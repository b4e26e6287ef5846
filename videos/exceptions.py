"""Everything that can go wrong with a video, by whose fault it is.

    ChronosError
    ├── FileFault            the creator's file: NoAudio, UnreadableMedia, TooLarge, …
    ├── ConfigurationFault   the operator's settings: Unauthorized, Misconfigured, OverBudget
    ├── ServiceFault         the paid service: Rejected, ServiceUnavailable, …
    ├── RunFault             the machine: TimedOut, WorkerLost, DiskFull, DecoderLost, Asleep
    ├── FunctionFault        the function's own code: it uses its run in a way that cannot work
    └── EventRefused         the caller's event; nothing was stored

    Signal                   ends a stage early, and is no error of the run: ClaimLost, HandedOver,
                             Yielded, RunCancelled

Errors with `waits_for` are nobody's fault in the run: it waits, visibly, and spends no retry.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

#: A year: times beyond the year 9999 can be stored, and never be read again.
MAX_WAIT_S = 366 * 24 * 3600


class ChronosError(Exception):
    """Base of all errors with a message for a person: what happened, and what to do next."""

    code: ClassVar[str] = "internal"
    #: A permanent error fails the run at once; any other is tried again.
    permanent: ClassVar[bool] = True
    #: Why a run waits after this error (a `Run.Waiting`) instead of failing or being tried again.
    waits_for: ClassVar[str] = ""
    #: The status of the answer that an error of this class is, where none is given.
    usual_status: ClassVar[int | None] = None

    def __init__(
        self, message: str, *, http_status: int | None = None, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        #: The status of a service's answer, where the error is one.
        self.http_status = http_status or self.usual_status
        #: Seconds that a run waits after an error with `waits_for`; whatever was said, a time.
        is_a_time = math.isfinite(retry_after_s) and retry_after_s > 0
        self.retry_after_s = min(retry_after_s, MAX_WAIT_S) if is_a_time else 0.0
        #: Whether nothing of what was asked can have reached the service.
        self.never_sent = False
        #: What an answer that is of no use cost all the same, as the ledger books it.
        self.measured: dict[str, Any] = {}

    @property
    def was_paid(self) -> bool:
        """Whether the service answered with success, and so is paid for what is of no use."""
        return self.http_status is not None and 200 <= self.http_status < 300


class FileFault(ChronosError):
    """Raised when the creator's file cannot be processed."""


class NoAudio(FileFault):
    """Raised when the media has no audio track."""

    code = "no_audio"


class UnreadableMedia(FileFault):
    """Raised when ffmpeg finds nothing in the file that it can decode."""

    code = "unreadable_media"


class TooLarge(FileFault):
    """Raised when the file has more bytes than CHRONOS_MAX_UPLOAD_BYTES."""

    code = "too_large"


class TooLong(FileFault):
    """Raised when the media lasts longer than CHRONOS_MAX_DURATION_S."""

    code = "too_long"


class MissingFile(FileFault):
    """Raised when the storage has no object under the video's name."""

    code = "missing_file"


class UnreadableCaptions(FileFault):
    """Raised when a person's captions are neither SubRip nor WebVTT."""

    code = "unreadable_captions"


class ConfigurationFault(ChronosError):
    """Raised when the installation's settings cannot work."""

    code = "misconfigured"


class Misconfigured(ConfigurationFault):
    """Raised when a service does not know the configured model or address."""


class Unauthorized(ConfigurationFault):
    """Raised when a service refuses the API key, or the account that pays."""

    code = "unauthorized"
    usual_status = 401
    #: The service that did, once its breaker knows.
    service = ""


class OverBudget(ConfigurationFault):
    """Raised when one call needs more tokens than a whole minute's budget."""

    code = "over_budget"


class ServiceFault(ChronosError):
    """Raised when a paid service answered badly, late or not at all."""

    code = "service_unavailable"
    permanent = False


class Rejected(ServiceFault):
    """Raised when the service refuses this input (HTTP 400, 413, 422)."""

    code = "rejected"
    permanent = True
    usual_status = 400


class ServiceUnavailable(ServiceFault):
    """Raised when the service cannot be reached or answers with a 5xx."""


class Overdue(ServiceUnavailable):
    """Raised when a service has not answered by the deadline of a call."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"The {service} service did not answer in time. Reprocess the video once it is "
            "available again."
        )


class BadResponse(ServiceFault):
    """Raised when the service's answer is not what its API promises."""

    code = "bad_response"

    def __init__(self, message: str) -> None:
        super().__init__(message, http_status=200)


class AbsurdResponse(BadResponse):
    """Raised when the answer is beyond all bounds: to ask again would only be paid for again."""

    permanent = True


class RateLimited(ServiceFault):
    """Raised when the service asks us to wait (HTTP 429)."""

    waits_for = "service"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, http_status=429, retry_after_s=retry_after_s)


class CircuitOpen(ServiceFault):
    """Raised instead of a call to a service that has failed too often in a row."""

    waits_for = "service"

    def __init__(self, message: str, *, retry_after_s: float, service: str) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.service = service


class ServicePaused(CircuitOpen):
    """Raised instead of a call to a service whose calls an operator holds back."""

    waits_for = "paused"


class BudgetSpent(ServiceFault):
    """Raised instead of a call for which this minute's budget has no room."""

    waits_for = "budget"


class RunFault(ChronosError):
    """Raised when the machine, not the input, ended the work."""


class TimedOut(RunFault):
    """Raised when a stage passed the deadline that its claim stored."""

    code = "timed_out"


class WorkerLost(RunFault):
    """Raised when a run ended its workers again and again."""

    code = "worker_lost"


class DiskFull(RunFault):
    """Raised when the worker's disk has no room."""

    permanent = False
    waits_for = "disk"


class DecoderLost(RunFault):
    """Raised when ffmpeg was ended before it could say anything of the file."""

    permanent = False


class SameContent(RunFault):
    """Raised when the same file of the same creator is being transcribed by another run."""

    permanent = False
    waits_for = "paused"


class Asleep(RunFault):
    """Raised by a durable function that goes on later; until then it holds no slot."""

    permanent = False
    waits_for = "asleep"


class FunctionFault(ChronosError):
    """Raised when a durable function uses its run in a way that no retry can mend."""


class EventRefused(ChronosError):
    """Raised when an event's name or data is wrong; `field` names what is wrong."""

    code = "invalid_event"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownVideo(EventRefused):
    """Raised when an event is about a video that does not exist."""

    code = "not_found"


class UnknownChunk(EventRefused):
    """Raised when an event names a chunk that its video does not have."""

    code = "not_found"


class Signal(BaseException):
    """Base of what ends a stage early without being an error of its run.

    Not an Exception: a function's own `except Exception` around a step must not swallow it.
    """


class ClaimLost(Signal):
    """Raised when another worker, or a newer run, owns what this stage was working on."""


class HandedOver(Signal):
    """Raised between steps once the worker is asked to end; another goes on with the run."""


class Yielded(Signal):
    """Raised between steps of bulk work when an upload waits for the thread that it uses."""


class RunCancelled(Signal):
    """Raised between steps once somebody asked to cancel the run."""
