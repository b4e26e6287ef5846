"""A million words into chunks, ours with times, others' of plain text; and the worst texts (B5).

.venv/bin/python benchmarks/chunking.py [WORDS]
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import IS_QUICK, Line, publish, seconds, spread

WORDS = 100_000 if IS_QUICK else 1_000_000
REPEATS = 1 if IS_QUICK else 3
#: What the others aim at: the middle of our range, in characters.
SIZE = 750 * 6
WORDS_PER_SEGMENT, SECONDS_PER_SEGMENT = 12, 4


def main() -> None:
    """Measure ours and others', and publish."""
    from videos.text import chunking

    count = int(sys.argv[1]) if len(sys.argv) > 1 else WORDS
    segments = talk(count)
    text = " ".join(segment.text for segment in segments)
    taken = {"Chronos, with times": seconds(lambda: chunking.chunk(segments), REPEATS)}
    for name, split in peers().items():
        taken[name] = seconds(lambda split=split: split(text), REPEATS)  # type: ignore[misc]
    rates = {name: [count / each / 1e6 for each in its] for name, its in taken.items()}
    table = [f"| {count:,} words, {REPEATS} times | million words/s |", "|---|---|"]
    table += [f"| {name} | {spread(its, 2)} |" for name, its in rates.items()]
    table += ["", "| the worst texts | seconds |", "|---|---|"]
    for name, worst in worst_texts(count).items():
        its = seconds(lambda worst=worst: chunking.chunk(worst), 1)  # type: ignore[misc]
        table.append(f"| {name} | {spread(its, 2)} |")
    half_talk = talk(count // 2)
    half = statistics.median(seconds(lambda: chunking.chunk(half_talk), REPEATS))
    ours = statistics.median(taken["Chronos, with times"])
    table += ["", f"Twice the words take {ours / half:.2f} times as long."]
    middle = {name: statistics.median(its) for name, its in rates.items()}
    best = max((rate, name) for name, rate in middle.items() if not name.startswith("Chronos"))
    line = Line(
        "a million words into chunks, million words/s",
        f"{middle['Chronos, with times']:.2f}, {middle['Chronos, with times'] / best[0]:.2f} x",
        f"{best[0]:.2f} ({best[1]})",
        "the fastest, linear",
    )
    publish("B5", [line], table, middle, "million words a second")


def talk(count: int) -> list[Segment]:
    """Return the segments of a talk of so many words: sentences of 5 to 25, a few known words."""
    chosen = random.Random(0)
    known = ["".join(chosen.choices("etaoinshrdlu", k=chosen.randint(2, 9))) for _ in range(5_000)]
    words: list[str] = []
    while len(words) < count:
        sentence = chosen.choices(known, k=chosen.randint(5, 25))
        words += [*sentence[:-1], f"{sentence[-1]}."]
    return list(timed(words[:count]))


def worst_texts(count: int) -> dict[str, list[Segment]]:
    """Return texts that cost other chunkers most."""
    plain = ["word"] * (count // 4)
    return {
        f"{count // 4:,} words without an end of a sentence": list(timed(plain)),
        "one word of a million letters": [Segment(0.0, 60.0, "x" * 1_000_000)],
        f"{count // 4:,} ends of sentences": list(timed(["!"] * (count // 4))),
    }


class Segment:
    """A segment as `chunk` takes it."""

    def __init__(self, start: float, end: float, text: str) -> None:
        self.start, self.end, self.text, self.speaker = start, end, text, ""


def timed(words: list[str]) -> Iterator[Segment]:
    """Yield words as segments of four seconds."""
    for number, begin in enumerate(range(0, len(words), WORDS_PER_SEGMENT)):
        start = float(number * SECONDS_PER_SEGMENT)
        text = " ".join(words[begin : begin + WORDS_PER_SEGMENT])
        yield Segment(start, start + SECONDS_PER_SEGMENT, text)


def peers() -> dict[str, Callable[[str], object]]:
    """Return splitters of plain text that aim at chunks of our size."""
    from chonkie import RecursiveChunker
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from semantic_text_splitter import TextSplitter

    return {
        "semantic-text-splitter": TextSplitter(SIZE).chunks,
        "LangChain, recursive": RecursiveCharacterTextSplitter(
            chunk_size=SIZE, chunk_overlap=0
        ).split_text,
        "Chonkie, recursive": RecursiveChunker(tokenizer="character", chunk_size=SIZE).chunk,
    }


if __name__ == "__main__":
    main()
