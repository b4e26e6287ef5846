"""A durable function in another app: the one that docs/extending.md shows."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from videos import events


@dataclass
class Greeting:
    name: str
    diary: str
    kill_between: bool = False
    kill_always: bool = False
    fail: bool = False


@events.function("letters/greeting.requested", data=Greeting, retries=1, on_failure=None)
def greet(run, data: Greeting):
    letter = run.step("write", write_letter, data)
    if data.kill_always or (data.kill_between and run.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    run.step("send", send_letter, data, letter)


def write_letter(data: Greeting) -> str:
    note(data, "write")
    return f"Dear {data.name}"


def send_letter(data: Greeting, letter: str) -> None:
    note(data, f"send {letter}")
    if data.fail:
        raise RuntimeError("no stamps <b>left</b>")


def apologise(run, data: Greeting) -> None:
    note(data, f"apologise for {run.error_code}")


@events.function("letters/card.requested", data=Greeting, retries=0, on_failure=apologise)
def send_card(run, data: Greeting):
    run.step("send", send_letter, data, "card")


def note(data: Greeting, line: str) -> None:
    with Path(data.diary).open("a") as diary:
        diary.write(line + "\n")
