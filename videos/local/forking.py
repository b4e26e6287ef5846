"""The process that starts sandboxed programs by forking: `launcher` starts it, and asks it.

`python -I -S forking.py CHANNEL` answers requests from a socket, each with a process id: `start`,
with the arguments of `sandbox.main` and three files (standard output, standard error, and where to
write the exit code), and `kill`. A request is its length in four bytes, and its words with NUL
between them. The process has one thread, so that it may fork, and ends with whoever asks; the
kernel kills what is left of its children.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import suppress

# Beside this file, which is run as a script and has no package around it.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sandbox = __import__("sandbox")
__import__("confinement")

#: Who asked has these in hand: a worker that ends well still needs its decoders.
_NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What Python has changed besides, and a program expects as the system has it.
_CHANGED = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


def serve(channel: socket.socket) -> None:
    """Do what is asked.

    Raises:
        ConnectionError: once nobody is there to ask.
    """
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    #: Where to write the exit code of each child.
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if channel.fileno() in ready:
            (asked, *arguments), files = _request(channel)
            if asked == "kill":
                child = _kill(int(arguments[0]), children)
            else:
                child = _start(arguments, files, children)
            channel.sendall(child.to_bytes(4, "big"))


def _request(channel: socket.socket) -> tuple[list[str], list[int]]:
    """Return the words of a request, and its files.

    Raises:
        ConnectionError: if nobody is there to ask.
    """
    begun, files, _, _ = socket.recv_fds(channel, 4, 3)
    left = int.from_bytes(begun, "big")
    request = bytearray()
    while len(request) < left and (more := channel.recv(left - len(request))):
        request += more
    if len(request) < left or not left:
        raise ConnectionResetError
    return request.decode(errors="surrogateescape").split("\0"), files


def _start(arguments: list[str], files: list[int], children: dict[int, int]) -> int:
    for file in files:
        os.set_inheritable(file, False)
    output, errors, status = files
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(arguments, parent, output, errors)
    children[child] = status
    os.close(output)
    os.close(errors)
    return child


def _become(arguments: list[str], parent: int, output: int, errors: int) -> None:
    """Become the program, as the head of a process group; return never."""
    code = sandbox.NOT_STARTED
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (*_NOT_OURS, *_CHANGED):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        limits, *rest = arguments
        sandbox.main([f"{limits} parent={parent}", *rest])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _kill(child: int, children: dict[int, int]) -> int:
    """Kill a child's group; an id that has been waited for may be another's by now."""
    if child in children:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # It heads no group yet.
            os.kill(child, signal.SIGKILL)
    return child


def _reap(children: dict[int, int]) -> None:
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        told = children.pop(child)
        with suppress(BrokenPipeError):  # Nobody may wait for it any more.
            os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(told)


if __name__ == "__main__":
    given = socket.socket(fileno=int(sys.argv[1]))
    given.set_inheritable(False)
    with suppress(ConnectionError):
        serve(given)
