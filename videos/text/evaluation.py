"""How good a search is: what its hits are, held against where the answers are said. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

#: A hit is right that starts within so many seconds of where the answer is said.
TOLERANCE_S = 15.0
#: Hits that are looked at.
DEPTH = 10
_RESAMPLES = 1_000

#: Where an answer is said, in seconds.
Interval = tuple[float, float]


@dataclass(frozen=True)
class Found:
    """A hit: whether it is in the right video, and where it starts."""

    is_video: bool
    start: float


@dataclass(frozen=True)
class Outcome:
    """What a search has made of one question."""

    #: Of the first right hit, from 0; None where there is none.
    rank: int | None
    #: Normalized discounted cumulative gain of the hits.
    ndcg: float
    #: Seconds between the answer and the first hit in its video; None where there is none.
    jump_s: float | None
    #: Whether nothing was found.
    is_silent: bool


def judge(hits: Sequence[Found], intervals: Sequence[Interval]) -> Outcome:
    """Hold hits, best first, against where the answer is said: nowhere, once, or several times."""
    left = list(intervals)
    rank, gain, jump_s = None, 0.0, None
    for position, hit in enumerate(hits[:DEPTH]):
        if not hit.is_video:
            continue
        if jump_s is None:
            jump_s = min((abs(hit.start - begin) for begin, _ in intervals), default=None)
        right = next((each for each in left if _is_right(hit.start, each)), None)
        if right is not None:
            left.remove(right)
            gain += _discount(position)
            rank = position if rank is None else rank
    ideal = sum(map(_discount, range(min(len(intervals), DEPTH))))
    return Outcome(rank, gain / ideal if ideal else 0.0, jump_s, not hits)


def summary(outcomes: Sequence[Outcome], seed: int = 1) -> dict[str, float | list[float] | None]:
    """Return shares and means of outcomes, with bootstrap intervals of 95% for the two shares.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    if not outcomes:
        return {"questions": 0}
    jumps = [each.jump_s for each in outcomes if each.jump_s is not None]
    drawn = random.Random(seed)
    return {
        "questions": len(outcomes),
        "first": round(_first(outcomes), 4),
        "first_interval": _bootstrap(outcomes, _first, drawn),
        "five": round(_five(outcomes), 4),
        "five_interval": _bootstrap(outcomes, _five, drawn),
        "mrr": round(fmean(0 if o.rank is None else 1 / (o.rank + 1) for o in outcomes), 4),
        "ndcg": round(fmean(each.ndcg for each in outcomes), 4),
        "jump_p50_s": _quantile(jumps, 50),
        "jump_p95_s": _quantile(jumps, 95),
        "silent": round(fmean(each.is_silent for each in outcomes), 4),
    }


def _is_right(start: float, interval: Interval) -> bool:
    begin, end = interval
    return begin - TOLERANCE_S <= start <= end + TOLERANCE_S


def _discount(position: int) -> float:
    """Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002."""
    return 1 / math.log2(position + 2)


def _first(outcomes: Sequence[Outcome]) -> float:
    return fmean(each.rank == 0 for each in outcomes)


def _five(outcomes: Sequence[Outcome]) -> float:
    return fmean(each.rank is not None and each.rank < 5 for each in outcomes)


def _bootstrap(
    outcomes: Sequence[Outcome],
    share: Callable[[Sequence[Outcome]], float],
    drawn: random.Random,
) -> list[float]:
    shares = [share(drawn.choices(outcomes, k=len(outcomes))) for _ in range(_RESAMPLES)]
    cuts = quantiles(shares, n=40, method="inclusive")
    return [round(cuts[0], 4), round(cuts[-1], 4)]


def _quantile(values: Sequence[float], percent: int) -> float | None:
    if len(values) < 2:
        return round(values[0], 2) if values else None
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 2)
