"""What it takes to start: a web process, a worker, a command; and from installed to serving (B11).

.venv/bin/python benchmarks/starting.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish, spread  # noqa: E402
from benchmarks.services import beside_services  # noqa: E402

REPEATS = 2 if IS_QUICK else 7
EMPTY = "an empty Django project with its admin"
STARTED = {
    "a command (`status`)": "import django; django.setup();"
    "from django.core.management import call_command;"
    "call_command('status', as_json=True, skip_checks=False)",
    "the web application": "import chronos.wsgi",
    "a worker": "import django; django.setup(); import django_dramatiq.setup, videos.actors;"
    "import videos.pipeline.transcribe.stage",
    EMPTY: "import django; from django.conf import settings; settings.configure("
    "INSTALLED_APPS=[f'django.contrib.{name}' for name in "
    "('auth', 'contenttypes', 'sessions', 'messages', 'admin')], "
    "DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql'}}); django.setup()",
}
#: Only our tests need it: who installs Chronos does not have it, and redis-py would load it.
WITHOUT = "import sys; sys.modules['opentelemetry'] = None;"
#: What is printed at the end: the most memory that the process had, in MiB.
MEMORY = "; import resource, sys; sys.stdout.flush(); print(" + (
    "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
)
SERVES_WITHIN_S = 60
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def main() -> None:
    """Start each some times, and publish."""
    table = ["| what starts | seconds | memory, MiB |", "|---|---|---|"]
    middle = {}
    with beside_services() as environment:
        turns = [
            {name: start(environment, code) for name, code in STARTED.items()}
            for _ in range(REPEATS + 1)
        ]
        for name in STARTED:
            seconds, memory = ([turn[name][at] for turn in turns[1:]] for at in (0, 1))
            middle[name] = statistics.median(seconds), statistics.median(memory)
            table.append(f"| {name} | {spread(seconds, 2)} | {spread(memory, 0)} |")
    serving = [serve() for _ in range(1 if IS_QUICK else 3)]
    table.append(f"| installed, to the first page: `manage.py up` | {spread(serving, 1)} | |")
    command = middle["a command (`status`)"]
    lines = [
        Line(
            "a command, s and MiB",
            f"{command[0]:.2f} s, {command[1]:.0f} MiB",
            f"{middle[EMPTY][0]:.2f} s, {middle[EMPTY][1]:.0f} MiB ({EMPTY})",
            "0.4; 100",
        ),
        Line("installed, to serving, s", f"{statistics.median(serving):.1f}", "", "4"),
    ]
    bars = {
        name if name == EMPTY else f"Chronos, {name}": seconds
        for name, (seconds, _) in middle.items()
    }
    publish("B11", lines, table, bars, "seconds")


def start(environment: dict[str, str], code: str) -> tuple[float, float]:
    """Return the seconds that a Python process takes with some code, and its MiB."""
    # Whoever installs a package has its bytecode, as here from the first turn on.
    environment = {name: environment[name] for name in environment if name != NO_BYTECODE}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code + MEMORY],
        cwd=PROJECT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "chronos.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, float(done.stderr.split()[-1])


def serve() -> float:
    """Return the seconds from `up`, with an empty data folder, to the first page."""
    with tempfile.TemporaryDirectory(prefix="chronos-benchmark-") as folder:
        os.environ |= {"CHRONOS_DATA_DIR": folder, "CHRONOS_ENV_FILE": os.devnull}
        os.environ["CHRONOS_ADMIN_PASSWORD"] = "benchmark"
        os.environ.pop(NO_BYTECODE, None)
        begun = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, str(PROJECT / "manage.py"), "up", "--port", "8765"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not answers("http://127.0.0.1:8765/"):
                assert time.perf_counter() - begun < SERVES_WITHIN_S, "it does not serve"
                time.sleep(0.05)
            return time.perf_counter() - begun
        finally:
            server.terminate()
            server.wait()


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    main()
