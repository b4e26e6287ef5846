"""Which language captions are in that do not say so: the one whose stop words they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from django.db import connection

from videos.text.languages import CODES_BY_TEXT_CONFIG

#: Enough to tell: stop words are half of what is said.
_WORDS = 2_000
_WORD = re.compile(r"[^\W\d_]+")
#: In any of Postgres' languages with stop words, more than this share of running text is such; and
#: that of no other language comes near it. Measured on talks in eight languages.
_LEAST_SHARE, _LEAST_LEAD = 0.2, 1.25
#: Postgres' Russian reads words of Latin letters as English ones.
_STOPS = """
    SELECT config, sum(said) FROM unnest(%s::text[]) AS config,
        unnest(%s::text[], %s::int[]) AS counted (word, said)
    WHERE to_tsvector(config::regconfig, word) = ''
        AND (config <> 'russian' OR word !~ '^[a-z]+$')
    GROUP BY config ORDER BY sum(said) DESC LIMIT 2
    """


def guess(texts: Iterable[str]) -> str:
    """Return the code of the language of texts, as `languages.code` does; empty: none is sure."""
    said = (word.lower() for text in texts for word in _WORD.findall(text))
    words = Counter(islice(said, _WORDS))
    if not words:
        return ""
    with connection.cursor() as cursor:
        configs = [*CODES_BY_TEXT_CONFIG]
        cursor.execute(_STOPS, [configs, [*words], [*words.values()]])
        ranked: list[tuple[str, int]] = cursor.fetchall()
    if not ranked:
        return ""
    (config, count), second = ranked[0], ranked[1][1] if len(ranked) > 1 else 0
    is_sure = count >= _LEAST_SHARE * words.total() and count >= _LEAST_LEAD * second
    return CODES_BY_TEXT_CONFIG[config] if is_sure else ""
