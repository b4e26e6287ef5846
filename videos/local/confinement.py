"""Take from the process that calls it what a decoder of hostile files has no need of.

Landlock (Linux 5.13 and newer, docs.kernel.org/userspace-api/landlock.html) leaves it the files
it is given to read, and no file to write or delete; seccomp leaves it no sockets, and no way into
other processes. It imports nothing but the standard library, and little of that: the sandbox
does so in a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
#: System calls of Landlock, the same numbers on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
#: Rights that each version of Landlock knows of: on files, on TCP, on what is outside.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_RIGHTS = 0b11
_SCOPES = 0b11
#: Programs and libraries of the system, and how the loader finds them: nothing of ours.
_SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64"),
    *("/usr/libexec", "/usr/local/bin", "/usr/local/lib", "/usr/local/lib64", "/nix/store"),
    *("/etc/ld.so.cache", "/dev/null"),
)
_LOADER_CONFIGURATION = ("/etc/ld.so.conf", "/etc/ld.so.conf.d")
#: Architecture, and the system calls that are refused: sockets, tracing, reading and writing
#: other processes' memory, signals, and io_uring, which could do all of it by itself.
#: The last is `tgkill`, by which a program may end itself, and nobody else.
_ARCHITECTURES = {
    "x86_64": (0xC000003E, (41, 42, 53, 101, 310, 311, 62, 200, 129, 297, 424, 425), 234),
    "aarch64": (0xC00000B7, (198, 203, 199, 117, 270, 271, 129, 130, 138, 240, 424, 425), 131),
}
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
#: Numbers of x86-64's other interface, which would be the same calls by other names.
_X32 = 0x40000000


def confine(program: str, readable: Iterable[str]) -> None:
    """Leave this process and what it becomes a program to run and files to read, for good.

    What the kernel does not know of is left out; `has_landlock` tells.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_files(libc, program, readable)
    _refuse_calls(libc)


def has_landlock() -> bool:
    """Whether the kernel has Landlock, and it is switched on."""
    return _version(ctypes.CDLL(None, use_errno=True)) > 0


def _version(libc: ctypes.CDLL) -> int:
    return int(libc.syscall(_CREATE_RULESET, None, 0, _RULESET_VERSION))


def _restrict_files(libc: ctypes.CDLL, program: str, readable: Iterable[str]) -> None:
    version = _version(libc)
    if version <= 0:
        return
    count = max(rights for since, rights in _FILE_RIGHTS.items() if since <= version)
    attributes = struct.pack("=Q", (1 << count) - 1)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP_RIGHTS)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    rules = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused its rules")
    executable = os.path.realpath(program)
    beside = os.path.dirname(os.path.dirname(executable))
    own = [os.path.join(beside, name) for name in ("lib", "lib64")]
    for path in (*_SYSTEM, *_library_folders(), executable, *own):
        _allow(libc, rules, path, _READ_FILE | _READ_DIR | _EXECUTE)
    for path in readable:
        _allow(libc, rules, os.path.realpath(path), _READ_FILE | _READ_DIR)
    if libc.syscall(_RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "Landlock refused to restrict the process")
    os.close(rules)


def _library_folders() -> list[str]:
    """Return where the loader looks for libraries, beside the usual places (ld.so(8))."""
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for path in _loader_configuration():
        with open(path, errors="replace") as lines:
            folders += [line.strip() for line in lines]
    return [folder for folder in folders if folder.startswith("/") and folder != "/"]


def _loader_configuration() -> Iterator[str]:
    """Yield the files that name the folders."""
    whole, parts = _LOADER_CONFIGURATION
    if os.path.exists(whole):
        yield whole
    if os.path.isdir(parts):
        yield from (f"{parts}/{name}" for name in os.listdir(parts) if name.endswith(".conf"))


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Allow rights on what lies at or beneath a path; one that is not there needs none."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= ~_READ_DIR
    if libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0):
        raise OSError(ctypes.get_errno(), f"Landlock refused the rule for {path}")
    os.close(opened)


def _refuse_calls(libc: ctypes.CDLL) -> None:
    """Have the kernel answer EPERM to system calls that a decoder never makes."""
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return
    architecture, refused, signals_own = known
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in refused:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    steps += [
        (_EQUAL, 0, 3, signals_own),
        (_LOAD, 0, 0, 16),  # The lower half of its first argument.
        (_EQUAL, 1, 0, os.getpid()),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp refused the filter")
