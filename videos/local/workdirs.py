"""Temporary folders that are gone when their work is, even if its process was killed.

Each folder holds a lock that the kernel releases with its process. Whoever finds a folder whose
lock is free deletes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "chronos-work-"
_LOCK = ".lock"
#: Whoever makes or deletes a folder does something in it at least this often.
_STILL_FOR_S = 5.0


@contextmanager
def folder(owner: str = "") -> Iterator[Path]:
    """Yield a new folder, which is deleted when the block ends; `sweep` tells whose were left."""
    path, descriptor = _locked_folder(owner)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _locked_folder(owner: str) -> tuple[Path, int]:
    """Make a folder and lock it; one that a sweep found before it was locked is made again."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{owner}."))
        try:
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # This process was stopped for a while, and the folder taken for left.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (path / _LOCK).exists():
            return path, descriptor
        os.close(descriptor)


def sweep() -> list[str]:
    """Delete the folders of processes that are gone; return whose they were, "" for nobody's."""
    with os.scandir(tempfile.gettempdir()) as entries:
        paths = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    return [owner for path in paths if (owner := _owner_if_left(path)) is not None]


def _owner_if_left(path: Path) -> str | None:
    """Delete a folder if it was left; return whose it was, if that is known to be dead."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None  # Another user's, who might say of any worker that it is dead.
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        # It is being made or deleted just now; or whoever did that was killed in between.
        return "" if _delete_if_still(path) else None
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    else:
        shutil.rmtree(path, ignore_errors=True)
        return path.name.removeprefix(_PREFIX).rpartition(".")[0]
    finally:
        os.close(descriptor)


def _delete_if_still(path: Path) -> bool:
    """Delete a folder without a lock in which nothing has changed for a while."""
    try:
        if time.time() - path.stat().st_mtime < _STILL_FOR_S:
            return False
    except FileNotFoundError:
        return False
    shutil.rmtree(path, ignore_errors=True)
    return True
