"""`make run ONCE=1`'s path, with the real AI server, on the sample."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.environment import clean

pytestmark = pytest.mark.processes


def names(environ: Path, folder: str) -> bool:
    try:
        return folder.encode() in environ.read_bytes()
    except OSError:
        return False


def test_up_answers_a_search_on_the_sample_and_leaves_nothing_running(tmp_path):
    environment = clean(dict(os.environ)) | {
        "CHRONOS_DATA_DIR": str(tmp_path / "data"),
        "CHRONOS_ENV_FILE": os.devnull,
        "CHRONOS_ADMIN_PASSWORD": "chosen by the test",
    }

    def manage(*arguments):
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )

    first = manage("up", "--once", "--no-web")
    assert first.returncode == 0, first.stderr
    assert "chosen by the test" not in first.stdout
    assert "Welcome to this short lecture" in first.stdout
    answer = first.stdout[first.stdout.index("Search:") :]
    assert re.search(r"0:[0-3]\d  A short lecture", answer), answer

    second = manage("up", "--once", "--no-web")
    assert second.returncode == 0, second.stderr
    assert "Processing" not in second.stdout

    survivors = [
        entry.name for entry in Path("/proc").glob("[0-9]*/environ") if names(entry, str(tmp_path))
    ]
    assert survivors == []

    for query, least, most in [
        ("water for the city of Rome", 38, 78),
        ("interest on savings in a bank", 78, 117),
    ]:
        hits = json.loads(manage("search", query, "--json").stdout)["results"]
        assert least < hits[0]["start"] < most, (query, hits[0])
    usage = json.loads(manage("usage", "--json").stdout)["rows"]
    assert usage[0]["creator"] == "admin"
    assert 116 <= usage[0]["audio_seconds"] <= 117
    assert usage[0]["cost_usd"] == 0
