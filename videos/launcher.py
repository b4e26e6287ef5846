"""Start a program with less trust than our own: `python -I launcher.py LIMITS -- PROGRAM ARG…`.

LIMITS is JSON: {"cpu_s", "memory_bytes", "file_bytes", "no_network", "death_signal"}, each
optional. The limits are set here, in a process of its own, because a `preexec_fn` may deadlock
in a threaded worker. It imports nothing but the standard library, and little of that.
"""

import ctypes
import json
import os
import resource
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Set the limits, then become the program."""
    limits, program = json.loads(arguments[0]), arguments[2:]
    _limit(resource.RLIMIT_CPU, limits.get("cpu_s"))
    _limit(resource.RLIMIT_AS, limits.get("memory_bytes"))
    _limit(resource.RLIMIT_FSIZE, limits.get("file_bytes"))
    if limits.get("no_network"):
        leave_network()
    if limits.get("death_signal"):
        _die_with_parent(signal.Signals[limits["death_signal"]])
    os.execvp(program[0], program)


def leave_network() -> bool:
    """Move this process into a network namespace without interfaces; tell whether it worked.

    A user namespace first, so that it needs no privilege; where the kernel allows neither, the
    program keeps its network, and a system check says so.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    flags = (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET)
    return any(libc.unshare(flag) == 0 for flag in flags)


def _limit(kind: int, value: int | None) -> None:
    if value is not None:
        resource.setrlimit(kind, (int(value), int(value)))


def _die_with_parent(sent: signal.Signals) -> None:
    """Have the kernel send `sent` once the thread that started us is gone (Linux)."""
    if sys.platform.startswith("linux"):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(sent))
        if os.getppid() != parent:
            os.kill(os.getpid(), sent)


if __name__ == "__main__":
    main(sys.argv[1:])
