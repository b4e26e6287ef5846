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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

_PREFIX = "chronos-work-"
_LOCK = ".lock"
#: Whoever makes or deletes a folder does something in it at least this often.
_STILL_FOR_S = 5.0
#: Changes that are so far apart have different times on any file system.
_CLOCKS_TELL_S = 3.0


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
    return _left(_all())


class Watch:
    """What one owner looks at, every second or so: two others' folders, and a part of nobody's.

    Together owners look at all.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._changed_at = 0.0
        self._paths: Sequence[Path] = ()

    def sweep(self) -> list[str]:
        """Delete and return as `sweep` does; all, once one was found: several may have died."""
        changed_at = os.stat(tempfile.gettempdir()).st_mtime
        # What has changed just now may change again at the same time, as far as clocks can tell.
        if changed_at != self._changed_at or time.time() - changed_at < _CLOCKS_TELL_S:
            self._changed_at, self._paths = changed_at, _share(self._owner, _all())
        left = _left(self._paths)
        return left + sweep() if left else left


def _left(paths: Sequence[Path]) -> list[str]:
    return [owner for path in paths if (owner := _owner_if_left(path)) is not None]


def _all() -> list[Path]:
    with os.scandir(tempfile.gettempdir()) as entries:
        return [Path(entry.path) for entry in entries if _is_ours(entry)]


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of this user; another might say of any worker that it is dead."""
    if not entry.name.startswith(_PREFIX):
        return False
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _share(looking: str, paths: Sequence[Path]) -> Sequence[Path]:
    """Return what an owner looks at: all, if it has no folder itself."""
    owners = sorted({_owner(path) for path in paths} - {""})
    if looking not in owners:
        return paths
    place, count = owners.index(looking), len(owners)
    following = {owners[(place + step) % count] for step in (1, 2)}
    return [
        path
        for path in paths
        if (owner := _owner(path)) in following
        or (not owner and crc32(path.name.encode()) % count == place)
    ]


def _owner(path: Path) -> str:
    return path.name.removeprefix(_PREFIX).rpartition(".")[0]


def _owner_if_left(path: Path) -> str | None:
    """Delete a folder if it was left; return whose it was, if that is known to be dead."""
    try:
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
        return _owner(path)
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
