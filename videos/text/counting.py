"""Words and tokens of a text, in any script. Pure.

Words are those of Unicode's default word boundaries (UAX #29, by the `regex` library). Scripts
written without spaces get a word of each character there, so a character counts as the share
of a word that it usually is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex


def _scripts(*names: str) -> str:
    """Return the inside of a regular expression's set of characters."""
    return "".join(rf"\p{{{name}}}" for name in names)


_CLUSTERED = _scripts("Thai", "Lao", "Khmer", "Myanmar")
_KANA_SCRIPTS = _scripts("Hiragana", "Katakana")
#: What a word has at the most: so texts of hardly any words are bounded, too, such as "! ! !" and
#: names of a thousand characters. A tsvector holds 1 MB (PostgreSQL docs, 12.11).
CHARACTERS_PER_WORD = 25
#: Scripts that are written without spaces, for the inside of a regular expression's set.
UNSPACED_SCRIPTS = _scripts("Han") + _KANA_SCRIPTS + _CLUSTERED

_WORD = regex.compile(r"(?w)\b[\p{L}\p{N}].*?\b", regex.DOTALL)
#: The same in ASCII, in a third of the time: but for what joins words, and elisions ("l'uomo").
_ODD_ASCII = re.compile("_|'[aeiouAEIOU]")
_ASCII_WORD = re.compile(
    r"(?:[A-Za-z0-9]|(?<=[A-Za-z])[:.'](?=[A-Za-z])|(?<=[0-9])[,;.'](?=[0-9]))+"
)
_HAN = regex.compile(r"\p{Han}")
_KANA = regex.compile(f"[{_KANA_SCRIPTS}]")
_UNSPACED = regex.compile(f"[{_CLUSTERED}]")
#: Thousandths of a word that one character counts. Chinese words have about 1.6 characters
#: (Xinhua corpus: Sproat and Shih 1990), Thai ones about 3.3 written clusters; kana carry
#: endings and particles between kanji, about two to a word.
_HAN_MILLIWORDS = 600
_KANA_MILLIWORDS = 500
_UNSPACED_MILLIWORDS = 300
_MAX_WORD_CHARACTERS = 25


#: Scripts that OpenAI's vocabulary has many words of, and few; of others it has next to none.
_CHEAP = _scripts(
    *("Latin", "Cyrillic", "Arabic", "Devanagari", "Thai", "Han", "Hiragana", "Katakana"),
    *("Hangul", "Common", "Inherited"),
)
_DEAR = _scripts(
    *("Greek", "Hebrew", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu"),
    *("Kannada", "Malayalam", "Sinhala", "Lao", "Khmer", "Myanmar", "Georgian"),
)
_FEW_WORDS = regex.compile(f"[{_DEAR}]+")
_HARDLY_A_WORD = regex.compile(f"[^{_CHEAP}{_DEAR}]+")


def count_words(text: str) -> int:
    """Return the number of words, at least 1 for any text with a letter or digit."""
    counted = milliwords(text)
    return max(1, round(counted / 1000)) if counted else 0


def estimate_tokens(text: str) -> int:
    """Return the tokens of a text, on the high side for OpenAI's cl100k vocabulary.

    English has about 4.5 bytes a token, Chinese about 2.7, Thai about 3; Tamil and Khmer about
    2.3, Georgian and Telugu 1.6, Armenian 1.3 (sample sentences, by tiktoken). No token has less
    than a byte.
    """
    size = len(text.encode())
    if text.isascii():
        return -(-size * 2 // 5)
    dear, dearest = (
        sum(len(run.encode()) for run in script.findall(text))
        for script in (_FEW_WORDS, _HARDLY_A_WORD)
    )
    frequent = size - dear - dearest
    return -(-(frequent * 4 + dear * 8 + dearest * 10) // 10)


def milliwords(text: str) -> int:
    """Return the thousandths of a word that a text has."""
    if text.isascii() and not _ODD_ASCII.search(text):
        words = _ASCII_WORD.findall(text)
        if max(map(len, words), default=0) <= _MAX_WORD_CHARACTERS:
            return 1000 * len(words)
        pieces = sum((len(word) - 1) // _MAX_WORD_CHARACTERS for word in words)
        return 1000 * (len(words) + pieces)
    return sum(weight for _, weight in weights(text))


def weights(text: str) -> Iterator[tuple[int, int]]:
    """Yield (position, thousandths of a word) of every word; a monstrous one in pieces."""
    for match in _WORD.finditer(text):
        word = match.group()
        for offset in range(0, len(word), _MAX_WORD_CHARACTERS):
            yield match.start() + offset, _weight(word)


def _weight(word: str) -> int:
    if _HAN.match(word):
        return _HAN_MILLIWORDS
    if _UNSPACED.match(word):
        return _UNSPACED_MILLIWORDS
    if len(word) == 1 and _KANA.match(word):
        return _KANA_MILLIWORDS
    return 1000
