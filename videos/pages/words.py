"""What pages say of a video: why it waits, what it cost, and what its creator can do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.utils.translation import gettext_lazy, ngettext

from videos.documents import video_document
from videos.exceptions import FileFault, UnreadableCaptions
from videos.models import Call, Video

_WAITS_FOR = {
    "concurrency": gettext_lazy("other videos of yours are processed first"),
    "rate": gettext_lazy("many videos were started within a minute"),
    "capacity": gettext_lazy("no worker is free yet"),
    "budget": gettext_lazy("the service's limit a minute is used up"),
    "service": gettext_lazy("the service is not available now; it goes on by itself"),
    "disk": gettext_lazy("the worker's disk is full; it goes on by itself"),
    "paused": gettext_lazy("it was paused"),
    "asleep": gettext_lazy("it goes on later"),
    "worker": gettext_lazy("no worker is there that could do it"),
}
#: Before it has begun, it is no limit a minute that it waits for.
_WAITS_FOR_BUDGET = gettext_lazy("what this month may cost is spent; it starts when there is more")
#: Nobody holds back what has begun, but for its calls of a service.
_WAITS_FOR_EQUAL = gettext_lazy("another video of the same file is transcribed first, for both")
ENDED = (Video.Status.COMPLETED, Video.Status.FAILED, Video.Status.CANCELLED)


@dataclass(frozen=True)
class Shown:
    """A video as the library shows it."""

    video: Video
    document: dict[str, Any]
    cost_usd: Decimal
    is_editable: bool

    @property
    def is_ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.video.status in ENDED

    @property
    def is_resumable(self) -> bool:
        """Whether it ended early, so that a person may have it go on."""
        return self.video.status in (Video.Status.FAILED, Video.Status.CANCELLED)

    @property
    def waits(self) -> str:
        """Why it waits, in words; empty: it does not."""
        waiting = self.document["waiting_for"]
        if not waiting:
            return ""
        reason = waiting["reason"]
        if reason == "budget" and self.video.status == Video.Status.PENDING:
            return str(_WAITS_FOR_BUDGET)
        (run, *_) = self.video.active_runs  # type: ignore[attr-defined]
        if reason == "paused" and run.holds_slot and not run.waits_behind:
            return str(_WAITS_FOR_EQUAL)
        return str(_WAITS_FOR.get(reason, reason))

    @property
    def remedy(self) -> str:
        """What mends it: "replace" the file, "captions", "resume"; empty: nothing is wrong."""
        if not self.is_resumable:
            return ""
        code = self.video.error_code
        if code == UnreadableCaptions.code:
            return "captions"
        return "replace" if code in _file_faults() else "resume"


def shown(videos: Iterable[Video], editable: Iterable[object]) -> list[Shown]:
    """Return videos that `with_runs` has loaded, with their costs: by one query."""
    listed, ids = list(videos), set(editable)
    costs = costs_usd(listed)
    return [
        Shown(video, video_document(video), costs.get(video.pk, Decimal(0)), video.pk in ids)
        for video in listed
    ]


def costs_usd(videos: Iterable[Video]) -> dict[Any, Decimal]:
    """Return what the calls for videos have cost so far, by their ids, in USD."""
    answered = Call.objects.filter(
        video_id__in=[video.pk for video in videos], state=Call.State.ANSWERED
    )
    sums = answered.order_by().values("video_id").annotate(cost=Sum("cost_usd"))
    return {row["video_id"]: row["cost"] for row in sums}


def said_of(count: int, what: str) -> str:
    """Say how many videos something was done to."""
    said = ngettext("%(what)s: %(count)d video.", "%(what)s: %(count)d videos.", count)
    return said % {"what": what, "count": count}


def _file_faults() -> set[str]:
    return {fault.code for fault in FileFault.__subclasses__()} - {UnreadableCaptions.code}
