"""Time and memory of each stage for one file, in a data folder of its own.

`.venv/bin/python benchmarks/sample.py [FILE]` prints what docs/figures.md holds. It processes
the file with the embedded services, reads the stages' times from the run's steps, and the peak
memory of every process from /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOOK_S = 0.2


def manage(environment: dict[str, str], *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments, "--json"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def peaks(folder: str, seen: dict[str, int]) -> None:
    """Note the peak resident memory (MiB) of every process that works for the data folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() not in (entry / "environ").read_bytes():
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            status = (entry / "status").read_text()
        except OSError:
            continue
        name = kind_of(command)
        if name and "VmHWM" in status:
            peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
            seen[name] = max(seen.get(name, 0), peak)


def kind_of(command: str) -> str:
    kinds = {
        "ffmpeg-": "ffmpeg",
        "dramatiq": "worker",
        "ai_server": "AI server",
        "redis-server": "Redis",
        "postgres": "Postgres (one process)",
    }
    return next((name for mark, name in kinds.items() if mark in command), "")


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "sample" / "lecture.mp4")
    with tempfile.TemporaryDirectory(prefix="chronos-benchmark-") as folder:
        environment = os.environ | {"CHRONOS_DATA_DIR": folder, "CHRONOS_ENV_FILE": os.devnull}
        manage(environment, "services", "start")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"],
            cwd=PROJECT,
            env=environment,
            check=True,
        )
        seen: dict[str, int] = {}
        process = subprocess.Popen(
            [
                *(sys.executable, "manage.py", "ingest", str(file.resolve())),
                *("--creator", "benchmark", "--create-creator", "--wait"),
            ],
            cwd=PROJECT,
            env=environment,
        )
        while process.poll() is None:
            peaks(folder, seen)
            time.sleep(LOOK_S)
        (run,) = manage(environment, "runs")["runs"]
        manage(environment, "services", "stop")
    print(f"\n{file.name}\n| stage | step | seconds |\n|---|---|---|")
    for step in run["steps"]:
        begun, ended = (datetime.fromisoformat(step[key]) for key in ("started_at", "finished_at"))
        seconds = (ended - begun).total_seconds()
        print(f"| {step['stage']} | {step['key']} | {seconds:.2f} |")
    print("\n| process | peak memory, MiB |\n|---|---|")
    for name, peak in sorted(seen.items(), key=lambda entry: -entry[1]):
        print(f"| {name} | {peak} |")


if __name__ == "__main__":
    main()
