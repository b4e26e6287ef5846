"""Start a program with less trust than our own, and never let it outlive us.

`python -I -S sandbox.py LIMITS READABLE… -- PROGRAM ARG…`, as `command` puts it together; or the
same in a process that `forking` has forked. LIMITS
are such as `cpu_s=60 no_network=1 readable=2`, of which the last counts the files that follow. They
are set here, in a process of its own, because a `preexec_fn` may deadlock in a threaded worker.

A video needs several such processes. So this file and `confinement` import only what costs nothing
of the standard library: with json, shutil, signal and glob each start took twice the CPU time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
#: Instead of limits: exit with 0 where a program can be left without network.
PROBE = "--can-leave-network"
#: All that a confined program is told of this machine.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
#: Exit code where the program could not be started; the reason is on standard error.
NOT_STARTED = 127


def command(program: Sequence[str], **limits: Any) -> list[str]:
    """Return the command that starts a program under limits, as `arguments` has them."""
    return [sys.executable, "-I", "-S", __file__, *arguments(program, **limits)]


def arguments(
    program: Sequence[str],
    *,
    death_signal: str = "SIGKILL",
    cpu_s: int | None = None,
    memory_bytes: int | None = None,
    file_bytes: int | None = None,
    no_network: bool = False,
    core: int | None = None,
    readable: Sequence[str] | None = None,
) -> list[str]:
    """Return what `main` is to be given, so that a program runs under limits.

    It dies with this process. With `core`, all of its threads run on that one, which spares them
    waking each other across. `readable` names all files that it may read beside those of the
    system: with it, even an empty one, the program has no environment, writes and deletes nothing,
    and reaches no socket and no other process, as far as the kernel knows how.
    """
    # Not for the child, which runs this file as well.
    import shutil
    import signal

    limits = {
        "death_signal": int(signal.Signals[death_signal]) if death_signal else None,
        "parent": os.getpid(),
        "cpu_s": cpu_s,
        "memory_bytes": memory_bytes,
        "file_bytes": file_bytes,
        "no_network": 1 if no_network else None,
        "core": core,
        "readable": None if readable is None else len(readable),
    }
    said = " ".join(f"{name}={int(value)}" for name, value in limits.items() if value is not None)
    found = program[0] if readable is None else shutil.which(program[0]) or program[0]
    return [said, *(readable or ()), "--", found, *program[1:]]


def main(given: list[str]) -> None:
    """Set the limits, then become the program."""
    if given == [PROBE]:
        sys.exit(not leave_network())
    limits = {name: int(value) for name, _, value in (s.partition("=") for s in given[0].split())}
    count = limits.get("readable", 0)
    readable, program = given[1 : count + 1], given[count + 2 :]
    try:
        _limit(resource.RLIMIT_CPU, limits.get("cpu_s"))
        _limit(resource.RLIMIT_AS, limits.get("memory_bytes"))
        _limit(resource.RLIMIT_FSIZE, limits.get("file_bytes"))
        if limits.get("no_network"):
            leave_network()
        if "core" in limits:
            _stay_on(limits["core"])
        if limits.get("death_signal"):
            _die_with_parent(limits["death_signal"], limits["parent"])
        if "readable" not in limits:
            os.execvp(program[0], program)
        # Beside this file, which is run as a script and has no package around it.
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        __import__("confinement").confine(program[0], readable)
        libraries = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
        os.execve(program[0], program, _ENVIRONMENT | libraries)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{program[0]}: {error}\n")
        sys.exit(NOT_STARTED)


def leave_network() -> bool:
    """Move this process into a network namespace without interfaces; tell whether it worked.

    A user namespace first: it needs no privilege, and takes those of root; where the kernel
    allows neither, the program keeps its network, and a system check says so.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    flags = (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET)
    return any(libc.unshare(flag) == 0 for flag in flags)


def _limit(kind: int, value: int | None) -> None:
    """Set a limit, unless we are under a lower one already."""
    if value is not None:
        _, hard = resource.getrlimit(kind)
        most = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(kind, (most, most))


def _stay_on(core: int) -> None:
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:  # It was taken from this machine: that costs time, and nothing else.
        sys.stderr.write(f"core {core}: {error}\n")


def _die_with_parent(sent: int, parent: int) -> None:
    """Have the kernel send `sent` once the thread that started us is gone (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sent)
        # The parent may have died before the kernel knew what to send.
        if os.getppid() != parent:
            os.kill(os.getpid(), sent)


if __name__ == "__main__":
    main(sys.argv[1:])
