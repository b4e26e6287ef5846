"""The sentences of a text, in any script, and pieces of those that do not end. Pure."""

from __future__ import annotations

import re

import regex

from videos.text.counting import CHARACTERS_PER_WORD, weights

_SENTENCE_END = regex.compile(r"[.!?…。！？؟۔।॥။።][\"'”’»)\]」』]*$")
_SENTENCE_BREAK = regex.compile(
    # A run of quotes without an end must not be looked through from each of them.
    r"(?<=[.!?…؟۔।॥][\"'”’»)\]]{0,3})\s+|(?<=[。！？။።][」』”]{0,3})(?=[^」』”。！？\s])\s*"
)
#: The same in ASCII, in a fifth of the time.
_ASCII_BREAK = re.compile(r"[.!?][\"')\]]{0,3}([ \t-\r]+)")
#: Without this there is none of those: to look behind each space takes many times as long.
_MAY_BREAK = regex.compile(r"[.!?…؟۔।॥][\"'”’»)\]]{0,3}\s|[。！？။።]")

#: An unbroken sentence longer than this may be cut inside, at about every _PIECE_WORDS words.
_LONG_SENTENCE_WORDS = 100
_PIECE_WORDS = 50


def sentences(said: str) -> list[str]:
    """Return the sentences of a text, which has no space around it."""
    if not said.isascii():
        split = _SENTENCE_BREAK.split(said) if _MAY_BREAK.search(said) else [said]
        return [text for text in split if text]
    found, begin = [], 0
    for gap in _ASCII_BREAK.finditer(said):
        found.append(said[begin : gap.start(1)])
        begin = gap.end()
    return [*found, said[begin:]] if begin < len(said) else found


def ends_sentence(text: str) -> bool:
    """Whether a sentence ends with the text."""
    said = text.rstrip()
    # Most texts end with a letter.
    return not said[-1:].isalnum() and _SENTENCE_END.search(said) is not None


def pieces(sentence: str, counted: int) -> list[str]:
    """Cut an overlong sentence at word boundaries; a leading space stays with its piece.

    `counted` are its thousandths of a word.
    """
    is_short = len(sentence) <= _LONG_SENTENCE_WORDS * CHARACTERS_PER_WORD
    if is_short and counted <= _LONG_SENTENCE_WORDS * 1000:
        return [sentence]
    cut, begin, counted = [], 0, 0
    for start, weight in weights(sentence):
        if counted >= _PIECE_WORDS * 1000:
            space = start > 0 and sentence[start - 1].isspace()
            cut.append(sentence[begin : start - space])
            begin, counted = start - space, 0
        counted += weight
    most = _PIECE_WORDS * 2 * CHARACTERS_PER_WORD
    return [
        piece[at : at + most]
        for piece in [*cut, sentence[begin:]]
        for at in range(0, len(piece), most)
    ]
