"""The table that a run of the chaos suite ends with."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from typing import Any

#: Seconds from SIGKILL to resumed; milliseconds from a run's end to the creator's next, where no
#: other lane has the processors.
MEDIAN_RECOVERY_S = 10.0
MAX_RECOVERY_S = 20.0
P95_HANDOVER_MS = 100.0


def table(reports: list[dict[str, Any]], usual: set[str], passed: set[str], seconds: float) -> str:
    """Return what happened, by kind of round, and the figures over all.

    `usual` boundaries are passed in an undisturbed round; all others only after a fault.
    """
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        by_kind[report["kind"]].append(report)
    lines = ["", "| round | rounds | kills | problems | median, s |", "|---|---|---|---|---|"]
    for kind, rounds in by_kind.items():
        kills = sum(len(report["kills"]) for report in rounds)
        problems = sum(len(report["problems"]) for report in rounds)
        median = statistics.median(report["seconds"] for report in rounds)
        lines.append(f"| {kind} | {len(rounds)} | {kills} | {problems} | {median:.1f} |")
    counted = hits(reports)
    recovery = recoveries(reports)
    others = {name: counted[name] for name in sorted(passed - usual)}
    figures = {
        "boundaries of an undisturbed round": len(usual),
        "kills at the least hit of them": min((counted[name] for name in usual), default=0),
        "boundaries passed only after faults": len(others),
        "kills at them": sum(others.values()),
        "recovery after SIGKILL, s": _spread(recovery),
        "the same, counted from the first of several kills": _spread(
            [first for _, _, first in _recoveries(reports)]
        ),
        "slot hand-over beside other lanes, ms": _spread(handovers(reports, alone=False)),
        "slot hand-over alone, ms": _spread(handovers(reports, alone=True)),
        "whole time, s": f"{seconds:.0f}",
    }
    lines += ["", "| figure | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in figures.items()]
    return "\n".join(lines)


def rarely_hit(reports: list[dict[str, Any]], usual: set[str], least: int) -> list[str]:
    """Return the boundaries at which workers did not die often enough."""
    counted = hits(reports)
    rare = [name for name in sorted(usual) if counted[name] < least]
    return [f"{name}: a worker was killed there {counted[name]} times" for name in rare]


def too_slow(reports: list[dict[str, Any]]) -> list[str]:
    """Return which of the promised times were not kept."""
    recovery, handover = recoveries(reports), handovers(reports, alone=True)
    slow = []
    if recovery and statistics.median(recovery) > MEDIAN_RECOVERY_S:
        slow.append(f"the median recovery took {statistics.median(recovery):.1f} s")
    slow += [
        f"the recovery from a kill at {name} took {seconds:.1f} s"
        for seconds, name, _ in _recoveries(reports)
        if seconds > MAX_RECOVERY_S
    ]
    if handover and _p95(handover) > P95_HANDOVER_MS:
        slow.append(f"95% of the slots were handed over within {_p95(handover):.0f} ms")
    return slow


def recoveries(reports: list[dict[str, Any]]) -> list[float]:
    """Return the recovery times of all rounds in which only workers were killed."""
    return [seconds for seconds, _, _ in _recoveries(reports)]


def _recoveries(reports: list[dict[str, Any]]) -> list[tuple[float, str, float]]:
    return [each for report in reports if "kill" in report["kind"] for each in report["recoveries"]]


def handovers(reports: list[dict[str, Any]], *, alone: bool) -> list[float]:
    """Return the slot hand-overs of all rounds in which no server was disturbed."""
    if alone:
        calm = [report for report in reports if report["kind"] == "alone"]
    else:
        calm = [each for each in reports if "kill" in each["kind"] or each["kind"] == "undisturbed"]
    return [ms for report in calm for ms in report["handover_ms"]]


def hits(reports: list[dict[str, Any]]) -> Counter[str]:
    """Return how often a worker was killed at each boundary."""
    return Counter(name for report in reports for name in report["kills"])


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95) - (len(values) * 0.95 == len(values))]


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    median, longest = statistics.median(values), max(values)
    return f"median {median:.1f}, p95 {_p95(values):.1f}, longest {longest:.1f} ({len(values)})"
