"""Programs that are started by a process kept for that: as by `subprocess`, and as confined."""

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import eventually, run_python
from videos.local import launcher, sandbox

PIPE_BYTES = 64 * 1024


def launch(*program, **limits):
    return launcher.start(sandbox.arguments(program, **limits), PIPE_BYTES)


def said(launched):
    output, errors, code = launched.stdout.read(), launched.stderr.read(), launched.wait()
    launched.end()
    return code, output, errors


@pytest.mark.parametrize("code", [0, 3])
def test_it_tells_what_a_program_says_and_how_it_ends(code):
    launched = launch("sh", "-c", f"echo here; echo there >&2; exit {code}")

    assert said(launched) == (code, b"here\n", b"there\n")


def test_a_program_that_is_not_there_says_so():
    code, _, errors = said(launch("/nowhere/ffmpeg"))

    assert code == sandbox.NOT_STARTED
    assert b"/nowhere/ffmpeg" in errors


def test_limits_hold_as_for_any_child(monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    _, output, _ = said(launch("sh", "-c", "ulimit -f; env", file_bytes=0, readable=[]))

    assert output.startswith(b"0\n")
    assert b"SECRET" not in output


def test_killing_ends_the_group_and_only_once():
    launched = launch("sh", "-c", "sleep 60 & echo started; wait")
    launched.stdout.readline()
    launched.kill()

    assert launched.wait() == -signal.SIGKILL
    # The pipe's other end is closed once the whole group is gone.
    assert launched.stdout.read() == b""
    launched.kill()
    launched.end()


def test_a_launcher_that_died_is_replaced_and_takes_its_children_along():
    launched = launch("sleep", "60")
    launcher._launcher._process.kill()

    assert launched.wait() == -signal.SIGKILL
    assert said(launch("echo", "again"))[:2] == (0, b"again\n")
    launched.end()


def test_what_a_worker_is_asked_to_end_by_ends_no_program():
    launched = launch("sh", "-c", "echo ready; read line; echo $line")
    launched.stdout.readline()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(launcher._launcher._process.pid, number)

    assert launched.poll() is None or launched.returncode == 0
    assert said(launched)[0] == 0


def test_no_program_outlives_who_started_it():
    parent = (
        "import sys\n"
        "from videos.local import launcher, sandbox\n"
        "child = launcher.start(sandbox.arguments(['sleep', '60']), 65536)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    process = run_python(parent)
    assert process.stdin and process.stdout
    pid = int(process.stdout.readline())

    process.kill()
    process.communicate(timeout=30)

    eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_many_at_once_get_their_own_words():
    launched = [launch("echo", str(number)) for number in range(40)]

    assert [said(each)[1] for each in launched] == [b"%d\n" % number for number in range(40)]
