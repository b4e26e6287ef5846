"""`make chaos RUNS=n`: break everything around the workers n times, and print a table.

Lanes, each with a database and workers of its own, go side by side: most kill workers at the
boundaries that `boundaries` finds, three others break Redis, Postgres, the disk, the service and
the clock. Exit code 1 if anything was lost, paid for twice or left over.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos import report
from tests.chaos.report import hits

PROJECT = Path(__file__).resolve().parent.parent.parent
#: From so many runs on, every boundary must have been hit this often.
LONG_RUNS = 300
MIN_HITS = 20
#: From so many on, each scenario is played as often as it says below; before, the quick ones once.
THOROUGH_RUNS = 100
QUICK = (
    *("Redis FLUSHALL", "Redis restarted", "faulty service", "six more sweeps"),
    *("connections ended", "queue unserved", "poisoned events", "24 batches at once"),
)
DISTURBED_SERVERS = {
    "Redis FLUSHALL": 1,
    "Redis restarted": 1,
    "Redis stalled 14 s": 1,
    "Postgres restarted": 10,
    "connections ended": 10,
    "connections exhausted": 10,
}
DISTURBED_WORKERS = {
    "faulty service": 10,
    "six more sweeps": 1,
    "clock an hour ahead": 1,
    "full disk": 10,
}
BAD_ITEMS = {"queue unserved": 5, "poisoned events": 5, "hung functions": 5}
BATCHES = {"24 batches at once": 5}
#: Three workers of eight threads wait for 24 answers, which come late and all at once.
BATCHES_ENVIRONMENT = {
    "CHAOS_THREADS": "8",
    "CHAOS_TIMEOUT_S": "60",
    "EMBEDDING_DIMENSIONS": "1536",
}
#: Rounds of one lane that has the machine to itself, at the end of a long run.
ALONE = ("alone",) * 20
BOUNCED = ("PgBouncer, undisturbed", "PgBouncer, kills")
TMPFS_BYTES = 1024**3


class Chaos:
    """The controlling process: servers, lanes, and what they report."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder = folder
        self.arguments = arguments
        self.reports: list[dict[str, Any]] = []
        #: Boundaries that are passed in undisturbed rounds, and in any.
        self.usual: set[str] = set()
        self.passed: set[str] = set()
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.mounted: list[Path] = []
        self._threads: list[threading.Thread] = []

    def perform(self) -> None:
        from tests.chaos.servers import Servers

        calm, broken = Servers(self.folder / "a"), Servers(self.folder / "b")
        try:
            for servers in (calm, broken):
                servers.start()
                self._migrate(servers)
            self._make_media()
            if self.arguments.round:
                self._repeat(calm, broken, self.arguments.round)
            else:
                self._start_lanes(calm, broken)
            self._await_lanes()
            if self.arguments.runs >= LONG_RUNS:
                self._start(calm, "alone", 0, list(ALONE))
                self._await_lanes()
        finally:
            calm.stop()
            broken.stop()
            for path in self.mounted:
                subprocess.run(["umount", str(path)], check=False)

    def _await_lanes(self) -> None:
        for thread in self._threads:
            thread.join()

    def _start_lanes(self, calm: Any, broken: Any) -> None:
        runs, lanes = self.arguments.runs, self.arguments.lanes
        for number in range(lanes):
            rounds = runs // lanes + (number < runs % lanes)
            self._start(calm, f"kills{number}", rounds, [])
        self._start(broken, "servers", 0, self._played(DISTURBED_SERVERS))
        kept = self._played(DISTURBED_WORKERS)
        disk = self._small_disk() if "full disk" in kept else None
        if disk is None and "full disk" in kept:
            kept = [name for name in kept if name != "full disk"]
            self.notes.append("full disk: left out, a small file system cannot be mounted here")
        self._start(calm, "workers", 0, kept, temporary=disk)
        self._start(calm, "items", 0, self._played(BAD_ITEMS))
        self._start(calm, "batches", 0, self._played(BATCHES), extra=BATCHES_ENVIRONMENT)
        from tests.chaos.servers import pgbouncer

        program = pgbouncer()
        if program:
            url = calm.bounced(program, calm.database("bounced"))
            self._start(calm, "bounced", 0, list(BOUNCED), database=url)
        else:
            self.notes.append(
                "PgBouncer: left out, it is not installed (apt-get install pgbouncer)"
            )

    def _played(self, scenarios: dict[str, int]) -> list[str]:
        """Return each scenario as often as it is to be played, in turn."""
        if self.arguments.runs < THOROUGH_RUNS:
            return [name for name in scenarios if name in QUICK]
        most = max(scenarios.values())
        return [name for turn in range(most) for name in scenarios if turn < scenarios[name]]

    def _repeat(self, calm: Any, broken: Any, round_seed: str) -> None:
        """Play one round again, on the kind of lane that it was played on."""
        kind = round_seed.split("/")[1]
        servers = broken if kind in DISTURBED_SERVERS else calm
        disk = self._small_disk() if kind == "full disk" else None
        extra = BATCHES_ENVIRONMENT if kind in BATCHES else {}
        self._start(servers, "repeated", 0, [f"repeat {round_seed}"], temporary=disk, extra=extra)

    def _small_disk(self) -> Path | None:
        path = self.folder / "small-disk"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        self.mounted.append(path)
        return path

    def _start(
        self,
        servers: Any,
        name: str,
        rounds: int,
        scenarios: list[str],
        *,
        database: str | None = None,
        temporary: Path | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        folder = self.folder / "lanes" / name
        temporary = temporary or folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        environment = self._environment(servers, database or servers.database(name)) | {
            "CHAOS_FOLDER": str(folder),
            "CHAOS_LEAST_HITS": str(MIN_HITS if self.arguments.runs >= LONG_RUNS else 0),
            "TMPDIR": str(temporary),
            "CHRONOS_DATA_DIR": str(folder / "data"),
            "REDIS_URL": servers.redis.url.replace("db=0", f"db={len(self._threads) + 1}"),
            **(extra or {}),
        }
        seed = self.arguments.seed + len(self._threads)
        log = (folder / "lane.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.lane", str(rounds), str(seed), *scenarios],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )
        begun = threading.Event()
        thread = threading.Thread(
            target=self._listen, args=[process, servers, name, folder, begun.set]
        )
        thread.start()
        self._threads.append(thread)
        # All at once, their services would answer too late for their clients.
        begun.wait()

    def _environment(self, servers: Any, database: str) -> dict[str, str]:
        from tests.environment import clean

        return clean(dict(os.environ)) | {
            "CHRONOS_ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": database,
            "REDIS_URL": servers.redis.url,
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "TRANSCRIPTION_MODEL": "whisper-1",
            "EMBEDDING_MODEL": "text-embedding-3-small",
            "EMBEDDING_DIMENSIONS": "32",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def _listen(
        self, process: Any, servers: Any, name: str, folder: Path, has_begun: Callable[[], object]
    ) -> None:
        """Take a lane's reports, and do what it asks for, until it ends."""
        for line in process.stdout:
            told = json.loads(line)
            if "do" in told:
                servers.do(told["do"])
                process.stdin.write("done\n")
            elif "passed" in told:
                self.usual |= set(told["usual"])
                self.passed |= set(told["passed"])
            else:
                self._take(told, name)
                has_begun()
        has_begun()
        log = folder / "lane.log"
        if process.wait() and log.exists():
            end = log.read_text()[-3000:]
            self.failures.append(f"lane {name} ended with {process.returncode}:\n{end}")

    def _take(self, seen: dict[str, Any], lane: str) -> None:
        self.reports.append(seen)
        new = self.folder / "lanes" / f"hits.{lane}"
        new.write_text(json.dumps(hits(self.reports)))
        new.rename(self.folder / "lanes" / "hits.json")
        done = len(self.reports)
        print(f"\r{done} rounds", end="", file=sys.stderr, flush=True)
        for problem in seen["problems"]:
            self.failures.append(
                f"{lane}, {seen['kind']}, {seen['kills']}: {problem} (SEED='{seen['seed']}')"
            )
            print(f"\n{self.failures[-1]}", file=sys.stderr, flush=True)

    def _migrate(self, servers: Any) -> None:
        environment = self._environment(servers, servers.postgres.url)
        command = [sys.executable, "-m", "django", "migrate", "-v", "0"]
        subprocess.run(command, cwd=PROJECT, env=environment, check=True)

    def _make_media(self) -> None:
        from tests.media import make_audio

        folder = self.folder / "lanes"
        folder.mkdir()
        make_audio(folder / "lecture.flac", 150)
        make_audio(folder / "clip.flac", 8)
        make_audio(folder / "talk.flac", 13)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=12, help="rounds in which workers are killed")
    parser.add_argument("--lanes", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument(
        "--seed",
        default="1",
        help="a number; or what a failure prints, to play just that round again",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look into it")
    arguments = parser.parse_args()
    arguments.round = arguments.seed if "/" in arguments.seed else ""
    arguments.seed = int(arguments.seed.partition("/")[0])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.chaos.settings")
    folder = Path(tempfile.mkdtemp(prefix="chronos-chaos-"))
    chaos = Chaos(folder, arguments)
    begun = time.monotonic()
    try:
        chaos.perform()
    except KeyboardInterrupt:
        chaos.failures.append("it was interrupted: the table has what was played until then")
    finally:
        if arguments.keep:
            print(f"\nkept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - begun
    print(report.table(chaos.reports, chaos.usual, chaos.passed, seconds))
    for note in chaos.notes:
        print(note)
    if arguments.runs >= LONG_RUNS:
        chaos.failures += report.rarely_hit(chaos.reports, chaos.usual, MIN_HITS)
        chaos.failures += report.too_slow(chaos.reports)
    for failure in chaos.failures:
        print(f"FAILED: {failure}")
    return bool(chaos.failures)


if __name__ == "__main__":
    sys.exit(main())
