"""Search hits as a page shows them: by video, each with what was said before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from videos.models import Segment, Video
from videos.search import Hit


@dataclass(frozen=True)
class Moment:
    """A hit: its second, and its words in pieces, those that were asked for marked."""

    segment: Segment
    second: float
    jump: float
    pieces: list[tuple[str, bool]]
    before: str
    after: str


@dataclass(frozen=True)
class Found:
    """A video with its moments, the best first."""

    video: Video
    moments: list[Moment]


def grouped(hits: Sequence[Hit]) -> list[Found]:
    """Group hits by video, in the order of each video's best, by one query for their neighbors."""
    neighbors = _neighbors(hits)
    found: dict[object, Found] = {}
    for hit in hits:
        group = found.setdefault(hit.video.pk, Found(hit.video, []))
        place = (hit.segment.transcript_id, hit.segment.index)
        group.moments.append(
            Moment(
                hit.segment,
                hit.second,
                hit.jump,
                list(hit.looked_for.marked(hit.segment.text)),
                neighbors.get((place[0], place[1] - 1), ""),
                neighbors.get((place[0], place[1] + 1), ""),
            )
        )
    return list(found.values())


def _neighbors(hits: Sequence[Hit]) -> dict[tuple[object, int], str]:
    if not hits:
        return {}
    wanted = Q()
    for hit in hits:
        index = hit.segment.index
        wanted |= Q(transcript=hit.segment.transcript_id, index__in=[index - 1, index + 1])
    rows = Segment.objects.filter(wanted).values_list("transcript_id", "index", "text")
    return {(transcript_id, index): text for transcript_id, index, text in rows}
