"""Of the processes that live, one looks for stuck work in each interval."""

from itertools import pairwise

import pytest

from videos.durable import turns
from videos.durable.turns import Turns


class Clock:
    """What each process takes for the time, and all of them share with the database."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


def looks(processes, clock, seconds):
    """How often any of them looks in each second; they ask once a second, not at the same time."""
    counts = []
    for _ in range(seconds):
        counts.append(0)
        for process in processes:
            clock.now += 1 / len(processes)
            counts[-1] += process.is_ours()
    return counts


@pytest.mark.parametrize(("count", "each_second"), [(1, 1), (2, 1), (4, 1), (8, 2)])
def test_the_processes_share_the_looks(clock, count, each_second):
    processes = [Turns(1.0) for _ in range(count)]
    for rank, process in enumerate(processes):
        process.learn(rank, count, 5_000.4)
    looks(processes, clock, 2)

    counts = looks(processes, clock, 40)

    assert sum(counts) == pytest.approx(40 * each_second, abs=1)
    assert all(first + second for first, second in pairwise(counts))


def test_a_process_that_has_heard_nothing_takes_every_turn(clock):
    assert looks([Turns(1.0)], clock, 5) == [1] * 5


def test_one_that_is_left_alone_looks_within_four_intervals(clock):
    alone = Turns(1.0)
    alone.learn(7, 8, 5_000.0)
    looks([alone], clock, 1)

    counts = looks([alone], clock, 20)

    assert sum(counts) == 5
    alone.learn(0, 1, 6_000.0)
    assert looks([alone], clock, 5) == [1] * 5


def test_a_process_that_was_stopped_looks_at_once(clock):
    stopped = Turns(1.0)
    stopped.learn(1, 4, 5_000.0)
    looks([stopped], clock, 4)
    clock.now += 60

    assert stopped.is_ours()
