"""Where the embedded default keeps its things."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent.parent
#: A Unix socket's path has 107 bytes at most (unix(7)); this is the longest name in the folder.
_MAX_SOCKET_NAME = len("postgres/.s.PGSQL.5432.lock")
_MAX_SOCKET_PATH = 107
#: A comma parts the hosts of libpq, and the folders of Postgres; quotes and ends of lines do worse.
_PLAIN_PATH = re.compile(r"[\w/.+@%~ -]+")


def data_folder(configured: str | None = None) -> Path:
    """Return CHRONOS_DATA_DIR as an absolute path; unset, it is `var` beside manage.py."""
    chosen = os.environ.get("CHRONOS_DATA_DIR", "") if configured is None else configured
    return Path(chosen).expanduser().absolute() if chosen else _PROJECT / "var"


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and return it.

    Raises:
        SystemExit: if the folder belongs to somebody else, or cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"The folder {path} cannot be made: {error.strerror}. Set CHRONOS_DATA_DIR to a folder "
            "of your own."
        ) from None
    if path.stat().st_uid != os.geteuid():
        raise SystemExit(
            f"The folder {path} belongs to another user. Run Chronos as that user, or set "
            "CHRONOS_DATA_DIR to a folder of your own."
        )
    path.chmod(0o700)
    return path


def socket_folder(data: Path) -> Path:
    """Return the folder of the sockets: in the data folder, or a private temporary one.

    The temporary one is named after the data folder, so that every command finds the same. It is
    taken where a path is too long, or has what separates paths for Postgres and its clients.
    """
    inside = data / "run"
    fits = len(os.fsencode(inside)) + 1 + _MAX_SOCKET_NAME <= _MAX_SOCKET_PATH
    if fits and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"chronos-{os.geteuid()}-{digest}"
