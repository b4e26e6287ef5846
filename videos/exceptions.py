"""Everything that can go wrong with a video, by whose fault it is.

    ChronosError
    ├── FileFault            the creator's file: NoAudio, UnreadableMedia, TooLarge, …
    ├── ConfigurationFault   the operator's settings: Unauthorized, Misconfigured
    ├── ServiceFault         the paid service: Rejected, ServiceUnavailable, …
    ├── RunFault             the machine: TimedOut, WorkerLost, DiskFull
    └── EventRefused         the caller's event; nothing was stored

ClaimLost, HandedOver and RunCancelled end a stage early; they are no errors of the run.
"""

from __future__ import annotations

from typing import ClassVar


class ChronosError(Exception):
    """Base of all errors with a message for a person: what happened, and what to do next."""

    code: ClassVar[str] = "internal"
    #: A permanent error fails the run at once; any other is tried again.
    permanent: ClassVar[bool] = True

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        #: The status of a service's answer, where the error is one.
        self.http_status = http_status


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


class ConfigurationFault(ChronosError):
    """Raised when the installation's settings cannot work."""

    code = "misconfigured"


class Misconfigured(ConfigurationFault):
    """Raised when a service does not know the configured model or address."""


class Unauthorized(ConfigurationFault):
    """Raised when a service refuses the API key."""

    code = "unauthorized"


class ServiceFault(ChronosError):
    """Raised when a paid service answered badly, late or not at all."""

    code = "service_unavailable"
    permanent = False


class Rejected(ServiceFault):
    """Raised when the service refuses this input (HTTP 400, 413, 422)."""

    code = "rejected"
    permanent = True


class ServiceUnavailable(ServiceFault):
    """Raised when the service cannot be reached or answers with a 5xx."""


class BadResponse(ServiceFault):
    """Raised when the service's answer is not what its API promises."""

    code = "bad_response"

    def __init__(self, message: str) -> None:
        super().__init__(message, http_status=200)


class RateLimited(ServiceFault):
    """Raised when the service asks us to wait (HTTP 429); it costs no retry."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, http_status=429)
        self.retry_after_s = retry_after_s


class RunFault(ChronosError):
    """Raised when the machine, not the input, ended the work."""


class TimedOut(RunFault):
    """Raised when a stage passed the deadline that its claim stored."""

    code = "timed_out"


class WorkerLost(RunFault):
    """Raised when a run ended its workers again and again."""

    code = "worker_lost"


class DiskFull(RunFault):
    """Raised when the worker's disk has no room; the run waits and costs no retry."""

    permanent = False


class EventRefused(ChronosError):
    """Raised when an event's name or data is wrong; `field` names what is wrong."""

    code = "invalid_event"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class ClaimLost(Exception):
    """Raised when another worker, or a newer run, owns what this stage was working on."""


class HandedOver(Exception):
    """Raised between steps once the worker is asked to end; another goes on with the run."""


class RunCancelled(Exception):
    """Raised between steps once somebody asked to cancel the run."""


#: What ends a stage early without being an error of its run.
ENDINGS = (ClaimLost, HandedOver, RunCancelled)
