"""Times of words for a text that came without any. Pure; seconds on one clock throughout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from videos.audio.parts import Interval
from videos.audio.stitching import Clock, RecognizedSegment, Word

#: A word ends where a space does, and where a sentence of a script without spaces does.
_WORD = re.compile(r"[^\s。！？]+[。！？]*|[。！？]+")
_ENDS_SENTENCE = re.compile(r"[.!?…。！？؟।][\"'”’»)\]]*$")
#: Nobody waits so long inside a sentence, and no caption stays so long.
_PAUSE_S = 1.0
_MAX_S = 15.0
#: Short words take longer than their characters say (docs/figures.md).
_LETTERS_MORE = 4


def words_of(text: str) -> list[str]:
    """Return the words of a text, in order."""
    return _WORD.findall(text)


def spread(text: str, speech: Sequence[Interval]) -> list[Word]:
    """Share the time of speech out among a text's words, by their characters.

    Args:
        text: what is said in all of the speech.
        speech: when somebody speaks, in milliseconds.
    """
    words = words_of(text)
    clock = Clock(speech)
    spoken_s = sum(end - start for start, end in speech) / 1000
    share = spoken_s / max(sum(len(word) + _LETTERS_MORE for word in words), 1)
    timed, at = [], 0.0
    for word in words:
        until = at + (len(word) + _LETTERS_MORE) * share
        timed.append((clock.start(at), clock.end(until), word))
        at = until
    return timed


def by_characters(text: str, pieces: Sequence[Word]) -> list[Word]:
    """Give the words of a text the times of pieces (a model's tokens) that spell the same text.

    None are returned if they do not.
    """
    starts: list[float] = []
    ends: list[float] = []
    for start, end, piece in pieces:
        characters = sum(not character.isspace() for character in piece)
        starts += [start] * characters
        ends += [end] * characters
    words = words_of(text)
    if sum(map(len, words)) != len(starts):
        return []
    timed, at = [], 0
    for word in words:
        last = at + len(word) - 1
        timed.append((starts[at], ends[last], word))
        at = last + 1
    return timed


def inside_speech(words: Iterable[Word], speech: Sequence[Interval]) -> list[Word]:
    """Move the edges of words out of silences: a model stretches words over pauses."""
    moved = []
    for start, end, word in words:
        touched = [
            (first / 1000, last / 1000)
            for first, last in speech
            if first / 1000 < end and start < last / 1000
        ]
        if touched:
            start, end = max(start, touched[0][0]), min(end, touched[-1][1])
        moved.append((start, end, word))
    return moved


def sentences(words: Sequence[Word], timing: str) -> list[RecognizedSegment]:
    """Return words as segments: one a sentence, and one for each side of a long pause."""
    return [
        RecognizedSegment(
            start=group[0][0],
            end=group[-1][1],
            text=" ".join(word for _, _, word in group),
            words=group,
            timing=timing,
        )
        for group in _groups(words)
    ]


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    group: list[Word] = list(words[:1])
    for before, word in pairwise(words):
        if (
            _ENDS_SENTENCE.search(before[2])
            or word[0] - before[1] >= _PAUSE_S
            or word[1] - group[0][0] >= _MAX_S
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group
