"""Temporary folders: left by the dead they go, in use by the living they stay."""

import fcntl
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PROJECT
from videos.local import workdirs

_FOLDERS = 1_000


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def sweep_until(stop):
    while not stop.is_set():
        workdirs.sweep()


def test_a_folder_that_is_being_made_is_never_swept_away():
    forked = multiprocessing.get_context("fork")
    stop = forked.Event()
    sweeper = forked.Process(target=sweep_until, args=[stop])
    sweeper.start()
    lost = 0
    for _ in range(_FOLDERS):
        with workdirs.folder() as folder:
            lost += not folder.exists()
    stop.set()
    sweeper.join()

    assert lost == 0


def test_a_folder_whose_process_was_killed_is_swept_away(tmp_path):
    killed = (
        "import os, signal\n"
        "from videos.local import workdirs\n"
        "with workdirs.folder(owner='me'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", killed],
        cwd=PROJECT,
        env={"TMPDIR": str(tmp_path)},
        check=False,
    )

    assert workdirs.sweep() == ["me"]
    assert list(tmp_path.iterdir()) == []


def test_owners_find_whichever_of_them_died(tmp_path):
    with ExitStack() as alive:
        watches = []
        for owner in ("a", "b", "c", "e"):
            alive.enter_context(workdirs.folder(owner=owner))
            watches.append(workdirs.Watch(owner))
        alive.enter_context(workdirs.folder())
        assert [watch.sweep() for watch in watches] == [[]] * 4

        (tmp_path / "chronos-work-d.left").mkdir()
        (tmp_path / "chronos-work-d.left" / ".lock").touch()
        (tmp_path / "chronos-work-.left").mkdir()
        (tmp_path / "chronos-work-.left" / ".lock").touch()

        assert sorted(chain(*(watch.sweep() for watch in watches))) == ["", "d"]


def test_an_owner_finds_the_dead_also_where_nothing_has_changed_for_long(tmp_path):
    with workdirs.folder(owner="me"), ExitStack() as alive:
        for owner in ("you", "they"):
            folder = tmp_path / f"chronos-work-{owner}.x"
            folder.mkdir()
            lock = alive.enter_context((folder / ".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        long_ago = time.time() - 60
        os.utime(tmp_path, (long_ago, long_ago))
        watch = workdirs.Watch("me")
        assert watch.sweep() == []

        lock.close()

        assert watch.sweep() == ["they"]
        (tmp_path / "chronos-work-new.x").mkdir()
        (tmp_path / "chronos-work-new.x" / ".lock").touch()
        assert watch.sweep() == ["new"]


def test_of_many_that_died_together_all_are_found_at_once(tmp_path):
    with workdirs.folder(owner="a"):
        for owner in "bcdefgh":
            (tmp_path / f"chronos-work-{owner}.x").mkdir()
            (tmp_path / f"chronos-work-{owner}.x" / ".lock").touch()

        assert sorted(workdirs.Watch("a").sweep()) == list("bcdefgh")


@given(st.integers(1, 9), st.integers(0, 9))
def test_owners_look_at_all_together_and_at_few_alone(owners, nobodys):
    paths = [Path(f"chronos-work-{number}.x") for number in range(owners)]
    paths += [Path(f"chronos-work-.{number}") for number in range(nobodys)]

    shares = [workdirs._share(str(number), paths) for number in range(owners)]

    assert set(chain(*shares)) == set(paths)
    assert sum(map(len, shares)) <= 2 * owners + nobodys


def test_a_folder_that_was_half_deleted_is_swept_away(tmp_path):
    half = tmp_path / "chronos-work-half"
    (half / "parts").mkdir(parents=True)

    assert workdirs.sweep() == []  # Somebody may be at it.

    long_ago = time.time() - 60
    os.utime(half, (long_ago, long_ago))
    assert workdirs.sweep() == [""]
    assert list(tmp_path.iterdir()) == []


def test_only_whose_lock_is_free_is_said_to_be_dead(tmp_path):
    with workdirs.folder(owner="me") as mine:
        (mine / ".lock").unlink()
        long_ago = time.time() - 60
        os.utime(mine, (long_ago, long_ago))
        (tmp_path / "chronos-work-you.x").symlink_to(tmp_path / "elsewhere")

        assert workdirs.sweep() == [""]
