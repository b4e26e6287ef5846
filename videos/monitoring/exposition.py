"""The gauges in the words of Prometheus.

All processes show the same, for it comes from Postgres: scrape one of them. What is counted by
the hour is a gauge, because histories end, and a counter must not fall.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from videos.durable.gauges import Gauges
from videos.durable.paid.budgets import Spent

CONTENT_TYPE = CONTENT_TYPE_LATEST


def text() -> bytes:
    """Return the exposition: names, units and labels are in docs/operating.md."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(Gauges()))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauges = self._gauges
        yield _family(
            "chronos_runs",
            "Runs that are not over.",
            ["queue", "state", "reason"],
            [((row.queue, row.state, row.reason), row.count) for row in gauges.active],
        )
        yield _family(
            "chronos_oldest_run_seconds",
            "Age of the oldest of these runs.",
            ["queue", "state", "reason"],
            [((row.queue, row.state, row.reason), gauges.oldest_s([row])) for row in gauges.active],
        )
        yield _family(
            "chronos_unserved_runs",
            "Runs on queues that no live worker serves.",
            ["queue"],
            [((queue,), count) for queue, count in gauges.unserved.items()],
        )
        yield _family(
            "chronos_runs_finished_1h",
            "Runs that ended in the last hour.",
            ["state"],
            [((state,), sum(curve)) for state, curve in gauges.finished.items()],
        )
        yield _family(
            "chronos_failures_1h",
            "Runs that failed in the last hour, by cause.",
            ["error_code"],
            [((cause.error_code,), cause.count) for cause in gauges.failures],
        )
        yield _family(
            "chronos_budget_usd",
            "What this month's calls may cost; without a creator, those of the site.",
            ["creator"],
            [((_whose(spent),), float(spent.budget.month_usd)) for spent in gauges.budgets],
        )
        yield _family(
            "chronos_budget_spent_usd",
            "What this month's answered calls have cost of it.",
            ["creator"],
            [((_whose(spent),), float(spent.usd)) for spent in gauges.budgets],
        )
        yield _family(
            "chronos_workers",
            "Worker processes by whether their heartbeat is fresh.",
            ["state"],
            [
                (("live",), sum(state.is_live for state in gauges.workers)),
                (("dead",), sum(not state.is_live for state in gauges.workers)),
            ],
        )
        yield _family(
            "chronos_worker_threads",
            "Threads of live workers: all, busy, and stuck in runs that were given up.",
            ["state"],
            [((state,), count) for state, count in gauges.threads.items()],
        )
        yield _family(
            "chronos_breaker_failures",
            "Failures of a service in a row.",
            ["service", "state"],
            [((each.service, each.state), each.failures) for each in gauges.breakers],
        )
        yield _family(
            "chronos_calls_1h",
            "Calls of paid services that left in the last hour.",
            ["service", "state"],
            [((row.service, row.state), row.count) for row in gauges.calls],
        )
        yield _family(
            "chronos_calls_cost_usd_1h",
            "What they cost.",
            ["service", "state"],
            [((row.service, row.state), row.cost_usd) for row in gauges.calls],
        )
        yield _family(
            "chronos_call_seconds_1h",
            "How long they took.",
            ["service", "state", "quantile"],
            [
                ((row.service, row.state, quantile), seconds)
                for row in gauges.calls
                for quantile, seconds in (("0.5", row.p50_s), ("0.95", row.p95_s))
                if seconds is not None
            ],
        )
        yield _family(
            "chronos_steps_1h",
            "Steps of the runs that completed in the last hour.",
            ["stage"],
            [((row.stage,), row.count) for row in gauges.steps],
        )
        yield _family(
            "chronos_step_seconds_1h",
            "How long they took, pauses between attempts included.",
            ["stage", "quantile"],
            [
                ((row.stage, quantile), seconds)
                for row in gauges.steps
                for quantile, seconds in (("0.5", row.p50_s), ("0.95", row.p95_s))
            ],
        )
        yield _family(
            "chronos_sweep_lag_seconds",
            "For how long something waits that a sweep repairs; 0 while sweeps keep up.",
            [],
            [((), gauges.sweep_lag_s)],
        )
        yield _family(
            "chronos_set_aside",
            "Events and runs that no worker could handle.",
            [],
            [((), gauges.set_aside)],
        )


def _whose(spent: Spent) -> str:
    return str(spent.budget.creator) if spent.budget.creator_id else ""


def _family(
    name: str,
    help_text: str,
    labels: list[str],
    samples: list[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
