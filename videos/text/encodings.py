"""The encodings in which captions really come: guessed, and told. Pure."""

from __future__ import annotations

import re

from videos.text.captions import BadCaptions, Repair

#: A file with fewer bytes beyond ASCII, of those that are letters, is of a Latin script.
_MAX_LATIN = 0.25
#: What is tried by reading it, the likeliest first; and what a library is asked about.
_LATIN = ("cp1252", "cp1250")
_CYRILLIC_AND_GREEK = ("cp1251", "koi8_r", "cp1253")
_OTHERS = [
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1255", "cp1256", "cp874"),
    *_CYRILLIC_AND_GREEK,
]
#: An encoding that makes more oddities than this of the characters beyond ASCII is not the one.
_MAX_ODD = 0.02
#: A sign of another encoding: a symbol inside a word, a capital after a small letter, the Czech
#: and Croatian letters that Western European languages lack.
_ODD = re.compile(
    r"[^\W\d_][¡-©«-´¶-º¼-¿¹³²×÷¤][^\W\d_]?|[¿¹³º][^\W\d_]|[šžŠŽœ](?=[^\W\d_])"
    r"|[а-яёα-ωά-ώ][А-ЯЁΑ-ΩΆ-Ώ]|[\x80-\x9f\u2200-\u25ff]"
)
#: Where at most this share of the characters beyond ASCII cannot be read, UTF-8 was damaged.
_MAX_DAMAGED = 0.2


def decode(content: bytes) -> tuple[str, list[Repair]]:
    """Return the text of a file, and what was guessed of its encoding.

    Raises:
        BadCaptions: if nobody can say what it is written in.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), []
    if utf_16 := _utf_16(content):
        return content.decode(utf_16, errors="replace"), []
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        text = content.decode("utf-8-sig", errors="replace")
        damaged = text.count("\ufffd")
        whole = sum(letter > "\x7f" for letter in text) - damaged
        if damaged <= _MAX_DAMAGED * whole:
            line = content.count(b"\n", 0, error.start) + 1
            return text, [Repair("a byte is not UTF-8; it is shown as �", line, damaged)]
    return _guessed(content)


def _utf_16(content: bytes) -> str:
    """Return the UTF-16 that a file without a mark is in, by where its zero bytes are."""
    head = content[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) < 8 or max(even, odd) * 4 < len(head) // 2:
        return ""
    if min(even, odd) * 8 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _guessed(content: bytes) -> tuple[str, list[Repair]]:
    high = sum(byte > 0x7F for byte in content)
    letters = sum(byte > 0x40 for byte in content)
    is_latin = high < _MAX_LATIN * letters
    odd = [
        (len(_ODD.findall(text)), order, encoding, text)
        for order, encoding in enumerate(_LATIN if is_latin else _CYRILLIC_AND_GREEK)
        if (text := _decoded(content, encoding)) and (is_latin or _has_capitals(text))
    ]
    if odd and (is_latin or min(odd)[0] <= _MAX_ODD * high):
        _, _, encoding, text = min(odd)
        return text, [_read_as(encoding)]
    import charset_normalizer  # It takes long to load, and few files need it.

    found = charset_normalizer.from_bytes(content, cp_isolation=_OTHERS)
    best = found.best()
    if best is None:
        raise BadCaptions("Its encoding cannot be detected. Save it as UTF-8.")
    return str(best), [_read_as(best.encoding)]


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _has_capitals(text: str) -> bool:
    """Whether there are capitals beyond ASCII, as in scripts that have them."""
    return any(letter > "\x7f" and letter.isupper() for letter in text)


def _read_as(encoding: str) -> Repair:
    return Repair(f"The file is not UTF-8; it was read as {encoding}", 0)
