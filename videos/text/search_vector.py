"""Text as it is indexed and asked for by words: one form, however it was typed.

Accents come composed or not, letters as ligatures or in full width, and marks of direction and
soft hyphens are not seen at all. The stored text stays as it was said.
"""

from __future__ import annotations

import unicodedata

from django.contrib.postgres.search import SearchVector
from django.db.models import Func, TextField
from django.db.models.expressions import Combinable

#: Format characters (Unicode's category Cf) that occur in text, as Postgres' regular expressions
#: write them.
_FORMAT = r"[\u00AD\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2064\u2066-\u206F\uFEFF]"
_ACCENTS = r"[\u0300-\u036F]"
_PLAIN = f"regexp_replace(normalize({{text}}, NFKC), '{_FORMAT}', '', 'g')"
_BARE = f"regexp_replace(normalize({_PLAIN}, NFKD), '{_ACCENTS}', '', 'g')"
#: Postgres takes a run of such letters for one word. Each stands alone in vectors and queries;
#: the ranking prefers those that stand close together. Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = r"([\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u4DBF\u4E00-\u9FFF])"
_SPACED = f"regexp_replace({{text}}, '{_UNSPACED}', ' \\1 ', 'g')"

#: SQL of a text as its language's configuration reads it: stems, without stop words; and as it is
#: looked for where that finds nothing: every word, without accents.
EXACT_TEXT = _SPACED.format(text=_PLAIN)
BARE_TEXT = _SPACED.format(text=_BARE)
#: Weights of the words of the two in a vector.
EXACT, BARE = "A", "D"
BARE_CONFIG = "simple"


class ExactText(Func):
    """The column's text with its accents."""

    template = EXACT_TEXT.format(text="%(expressions)s")
    output_field = TextField()


class BareText(Func):
    """The column's text without accents."""

    template = BARE_TEXT.format(text="%(expressions)s")
    output_field = TextField()


def search_vector(column: str, config: str) -> Combinable:
    """Return what is indexed of a text column, in a configuration of Postgres'."""
    exact = SearchVector(ExactText(column), config=config, weight=EXACT)
    return exact + SearchVector(BareText(column), config=BARE_CONFIG, weight=BARE)


def plain(text: str) -> str:
    """Return a query in the form in which texts are indexed."""
    composed = unicodedata.normalize("NFKC", text)
    return "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")


def exact_query(config: str) -> str:
    """Return SQL of a query for any of the words of a parameter; null for stop words alone.

    `config` is SQL that names the configuration.
    """
    return _query(f"{config}::regconfig", EXACT_TEXT, " | ")


def bare_query(*, joined_by: str = " | ") -> str:
    """Return SQL of a query for the words of a parameter, stop words as well, without accents."""
    return _query(f"'{BARE_CONFIG}'", BARE_TEXT, f":{BARE}{joined_by}", f":{BARE}")


def _query(config: str, text: str, joined_by: str, ending: str = "") -> str:
    words = f"plainto_tsquery({config}, {text.format(text='%s')})::text"
    return f"(nullif(replace({words}, ' & ', '{joined_by}'), '') || '{ending}')::tsquery"
