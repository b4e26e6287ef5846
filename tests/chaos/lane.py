"""One lane: a database, workers, a service and rounds of videos that must come out whole.

Started by `__main__` with the environment of its own database, Redis and folders; prints one JSON
line for every round.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["CHAOS_FOLDER"])
WORKERS = 3
ROUND_WITHIN_S = 240
QUIET_WITHIN_S = 40
KILLS_A_ROUND = 8
STOPPED_S = 10.0
#: Stands before the seed of a round that is to be played again.
REPEATED = "repeat "
#: How often every boundary must be hit, and how many more rounds than asked for that may take.
MIN_HITS = int(os.environ.get("CHAOS_LEAST_HITS", 0))
_MAX_OVERTIME = 1.2


class Lane:
    """What the rounds of a lane have in common."""

    def __init__(self, seed: int) -> None:
        from tests.chaos.zygote import Zygote

        self.seed = seed
        self.random = random.Random(seed)
        #: What repeats the round that is played: SEED of `make chaos`.
        self.round_seed = ""
        #: What a scenario looks at, and clears away, once its round is over.
        self.afterwards: list[Callable[[], list[str]]] = []
        self.zygote = Zygote(FOLDER)
        self.workers: set[int] = set()
        self.wanted = WORKERS
        self.skew_s = 0.0
        self.tries: dict[str, int] = {}
        self.plan_id = 0

    # Workers

    def keep_workers(self) -> None:
        """Start as many workers as are missing, as a supervisor would."""
        self.workers -= set(self.zygote.ended())
        while len(self.workers) < self.wanted:
            skew_s = self.skew_s if not self.workers else 0.0
            self.workers.add(self.zygote.start(skew_s))

    def replace_workers(self) -> None:
        """End all workers and start others."""
        for pid in self.workers:
            with suppress(ProcessLookupError):  # It may have ended by itself.
                os.kill(pid, signal.SIGKILL)
        while self.workers:
            self.workers -= set(self.zygote.ended())
            time.sleep(0.02)
        self.keep_workers()

    # Rounds

    def seed_round(self, kind: str, number: int) -> None:
        """Let chance be the same whenever this round is played."""
        self.round_seed = f"{self.seed}/{kind}/{number}"
        self.random = random.Random(self.round_seed)
        self.ended_at = []
        self.afterwards = []

    def round(
        self,
        disturb: Callable[[Lane], Iterable[None]],
        *,
        kind: str,
        upload: Callable[[Lane], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Upload, disturb, wait for the end, check, and clean up; return what was seen."""
        from tests.chaos import checks

        service.calls.clear()
        service.injected.clear()
        for left in FOLDER.glob("fired-*"):
            left.unlink()
        (FOLDER / "claims.log").write_text("")
        begun = time.time()
        videos = upload(self) if upload else self._upload()
        self._run(videos, disturb)
        problems = checks.unfinished(videos)
        if not problems:
            problems = self._wait_for_quiet(videos)
            problems += checks.results(videos)
            problems += checks.ledger(videos, service, self._disturbed_at())
        seen = {
            "kind": kind,
            "seed": self.round_seed,
            "seconds": round(time.time() - begun, 1),
            "problems": problems,
            "kills": [fired["name"] for fired in self._fired()],
            "recoveries": checks.recoveries(self._fired(), FOLDER / "claims.log"),
            "handover_ms": checks.handovers(videos, self._fired(), FOLDER / "claims.log"),
        }
        for look in self.afterwards:
            problems += look()
        problems += checks.deleted(videos)
        self.plan([])
        return seen

    def _upload(self) -> dict[str, Any]:
        """Two creators; one uploads the same lecture twice, and may run one video at a time."""
        ada, bob = self.creator("ada"), self.creator("bob")
        return {
            "lecture": self.upload("lecture", ada),
            "again": self.upload("lecture", ada),
            "clip": self.upload("clip", bob),
            "talk": self.upload("talk", bob),
        }

    def creator(self, name: str) -> Any:
        """Make a creator for one round."""
        from django.contrib.auth import get_user_model

        return get_user_model().objects.create_user(f"{name}-{time.time_ns()}")

    def upload(self, name: str, creator: Any) -> Any:
        """Upload one of the files."""
        from django.core.files import File

        from videos.models import Video

        source = FOLDER.parent / f"{name}.flac"
        with source.open("rb") as content:
            return Video.objects.create(creator=creator, file=File(content, name=source.name))

    def _run(self, videos: dict[str, Any], disturb: Callable[[Lane], Iterable[None]]) -> None:
        from django.db import Error, connection

        global _uploaded
        _uploaded = videos
        steps = iter(disturb(self))
        deadline = time.monotonic() + ROUND_WITHIN_S
        disturbing = True
        while time.monotonic() < deadline:
            self.keep_workers()
            disturbing = disturbing and next(steps, StopIteration) is not StopIteration
            try:
                if not disturbing and is_done():
                    return
            except Error:
                connection.close()
            time.sleep(0.05)

    def _wait_for_quiet(self, videos: dict[str, Any]) -> list[str]:
        """Wait until nothing is left over; return what is, after a while."""
        from tests.chaos import checks

        deadline = time.monotonic() + QUIET_WITHIN_S
        left = checks.left_over(videos)
        while left and time.monotonic() < deadline:
            self.keep_workers()
            time.sleep(0.2)
            left = checks.left_over(videos)
        return left

    def _fired(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text() or "{}") for path in FOLDER.glob("fired-*")]

    def _disturbed_at(self) -> list[float]:
        return [fired["at"] for fired in self._fired()] + self.ended_at

    # Disturbances

    ended_at: list[float] = []

    def plan(self, names: list[str]) -> None:
        """Have workers die at these boundaries, once at each."""
        targets = []
        for name in names:
            self.plan_id += 1
            targets.append({"id": self.plan_id, "name": name, "nth": self.random.choice([1, 1, 2])})
        new = FOLDER / "plan.json.new"
        new.write_text(json.dumps(targets))
        new.rename(FOLDER / "plan.json")

    def hits(self) -> dict[str, int]:
        """Return how often workers of all lanes were killed at each boundary so far."""
        hits_file = FOLDER.parent / "hits.json"
        return json.loads(hits_file.read_text()) if hits_file.exists() else {}

    def lacks_hits(self, usual: list[str]) -> bool:
        """Whether workers must still be killed at one of these boundaries."""
        hits = self.hits()
        return any(hits.get(name, 0) < MIN_HITS for name in usual)

    def die_at_boundaries(self, _: Lane) -> Iterable[None]:
        """Kill at the boundaries that were hit least so far, in all lanes together.

        One that is passed in rare circumstances only must not be waited for in every round.
        """
        hits = self.hits()

        def rank(name: str) -> tuple[float, float]:
            return max(hits.get(name, 0), self.tries.get(name, 0)), self.random.random()

        chosen = sorted(passed(), key=rank)[:KILLS_A_ROUND]
        for name in chosen:
            self.tries[name] = self.tries.get(name, 0) + 1
        yield from self.die_at(chosen)

    def die_at(self, names: list[str]) -> Iterable[None]:
        """Kill at these boundaries."""
        self.round_seed += "@" + "|".join(names)
        self.plan(names)
        yield

    def die_at_random(self, _: Lane) -> Iterable[None]:
        """Kill workers at random moments of the round."""
        for _number in range(3):
            until = time.monotonic() + self.random.uniform(0.1, 1.5)
            while time.monotonic() < until:
                yield
            if self.workers:
                self.note_kill(self.random.choice(sorted(self.workers)))
                yield

    def note_kill(self, pid: int) -> None:
        """Kill a worker from outside, and write down when."""
        self.plan_id += 1
        fired = {"at": time.time(), "held": [], "name": "random", "pid": pid}
        os.kill(pid, signal.SIGKILL)
        (FOLDER / f"fired-{self.plan_id}").write_text(json.dumps(fired))

    def stop_and_continue(self, _: Lane) -> Iterable[None]:
        """Stop a worker for longer than its leases last; then let it go on."""
        until = time.monotonic() + self.random.uniform(0.1, 0.8)
        while time.monotonic() < until:
            yield
        pid = self.random.choice(sorted(self.workers))
        self.ended_at.append(time.time())
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + STOPPED_S
        while time.monotonic() < until:
            yield
        os.kill(pid, signal.SIGCONT)

    def undisturbed(self, _: Lane) -> Iterable[None]:
        """Let all be well."""
        return []


_uploaded: dict[str, Any] = {}


def is_done() -> bool:
    """Whether nothing more happens to the videos of the round."""
    from videos.models import Run, Video

    ids = [video.pk for video in _uploaded.values()]
    active = Run.objects.filter(video__in=ids, finished_at__isnull=True)
    ended = Video.objects.filter(pk__in=ids, status__in=["completed", "failed", "cancelled"])
    return not active.exists() and ended.count() == len(ids)


def passed() -> list[str]:
    """Return the boundaries that workers of this lane have passed so far."""
    return sorted(set((FOLDER / "passed.log").read_text().splitlines()))


def kills(lane: Lane, rounds: int, usual: list[str]) -> None:
    """Do the rounds in which workers are killed or stopped; go on while a boundary lacks hits."""
    for number in count():
        is_late = number >= rounds * _MAX_OVERTIME
        if number >= rounds and (is_late or not lane.lacks_hits(usual)):
            return
        kind = {4: "random kill", 9: "stopped past the lease"}.get(number % 10, "kill at boundary")
        lane.seed_round(kind, number)
        tell(lane.round(_kill(lane, kind), kind=kind))


def _kill(lane: Lane, kind: str) -> Callable[[Lane], Iterable[None]]:
    return {
        "random kill": lane.die_at_random,
        "stopped past the lease": lane.stop_and_continue,
        "kill at boundary": lane.die_at_boundaries,
    }[kind]


def repeat(lane: Lane, round_seed: str) -> None:
    """Play one round again, as its report names it: SEED/KIND/NUMBER[@BOUNDARY|…]."""
    from tests.chaos import scenarios

    named, _, boundaries = round_seed.partition("@")
    seed, kind, number = named.split("/")
    lane.seed = int(seed)
    if kind in scenarios.SCENARIOS:
        tell(scenarios.play(lane, kind, int(number)))
        return
    lane.seed_round(kind, int(number))
    names = boundaries.split("|")
    disturbance = (lambda each: each.die_at(names)) if boundaries else _kill(lane, kind)
    tell(lane.round(disturbance, kind=kind))


def tell(seen: dict[str, Any]) -> None:
    """Report a round to the controlling process."""
    print(json.dumps(seen), flush=True)


def main() -> None:
    global service
    rounds, seed, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    import django

    from tests.chaos.zygote import die_with_parent

    die_with_parent()
    django.setup()
    import tests.chaos.actors  # noqa: F401
    import videos.actors
    import videos.pipeline.transcribe.stage  # noqa: F401

    lane = Lane(seed)  # Forks the zygote, before any thread is there.
    service.start()
    lane.keep_workers()
    # What comes out of this round is what is expected of the others.
    tell(lane.round(lane.undisturbed, kind="undisturbed"))
    usual = passed()
    if rounds:
        kills(lane, rounds, usual)
        tell({"usual": usual, "passed": passed()})
    numbers: Counter[str] = Counter()
    for name in names:
        from tests.chaos import scenarios

        if name.startswith(REPEATED):
            repeat(lane, name.removeprefix(REPEATED))
            continue
        tell(scenarios.play(lane, name, numbers[name]))
        numbers[name] += 1
    lane.zygote.stop()


if __name__ == "__main__":
    from tests.chaos.service import Service

    service = Service(dimensions=int(os.environ["EMBEDDING_DIMENSIONS"]))
    os.environ["OPENAI_BASE_URL"] = service.url
    os.environ["OPENAI_API_KEY"] = service.key
    sys.modules["tests.chaos.lane"] = sys.modules["__main__"]
    main()
