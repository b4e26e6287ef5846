"""The project's settings, with what the benchmarks measure."""

import os

from chronos.settings import *  # noqa: F403
from chronos.settings import DRAMATIQ_BROKER, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.hops"]
if os.environ.get("BENCHMARK_PLAIN_BROKER"):
    DRAMATIQ_BROKER["BROKER"] = "dramatiq.brokers.redis.RedisBroker"
if os.environ.get("BENCHMARK_PART_MINUTES"):
    from benchmarks.fixed_splits import cut_every

    cut_every(int(os.environ["BENCHMARK_PART_MINUTES"]))
