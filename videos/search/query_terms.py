"""The words of a query as each language reads them: stems, how much they tell, what was meant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from videos.models import Lexeme, LexemeChange, Passage
from videos.text import ranking, spelling, terms

_STOP_WORD = 0.1
#: How well a word fits without its accents, and as what it may have been meant to be.
_FOLDED, _SPELLED = 0.8, 0.8
_LIKELY_SPELLINGS = 400
#: The share of passages that hold a letter of a script without spaces: nobody counts them.
_OF_A_LETTER = 0.05

#: The configurations that there are, each found by one step in their index.
_CONFIGS = f"""
    WITH RECURSIVE found AS (
        SELECT min(text_config) AS name FROM {Passage._meta.db_table}
        UNION ALL
        SELECT (
            SELECT min(text_config) FROM {Passage._meta.db_table} WHERE text_config > found.name
        )
        FROM found WHERE found.name IS NOT NULL
    )
    SELECT name FROM found WHERE name IS NOT NULL
    """
_STEMS = f"""
    WITH configs AS ({_CONFIGS})
    SELECT name, word, tsvector_to_array(to_tsvector(name::regconfig, word))
    FROM configs, unnest(%s::text[]) AS word
    """
_COUNTS = f"""
    SELECT text_config, lexeme, sum(passages) FROM (
        SELECT text_config, lexeme, passages FROM {Lexeme._meta.db_table}
        WHERE lexeme = ANY(%s)
        UNION ALL
        SELECT text_config, lexeme, change FROM {LexemeChange._meta.db_table}
        WHERE lexeme = ANY(%s)
    ) AS counted GROUP BY text_config, lexeme
    """
_ALIKE = f"""
    SELECT text_config, lexeme, passages,
        cardinality(ARRAY(SELECT unnest(trigrams) INTERSECT SELECT unnest(%s::text[]))) AS shared
    FROM {Lexeme._meta.db_table} WHERE trigrams && %s::text[] AND passages > 0
    ORDER BY shared DESC, lexeme, text_config LIMIT {_LIKELY_SPELLINGS}
    """


@dataclass
class Term:
    """A word of the query in one language."""

    word: str
    stems: list[str]
    #: In how many passages it stands, of how many.
    passages: int = 0
    of_all: int = 0
    #: How much it tells.
    weight: float = 0.0
    #: Of a word that nobody says: what it may have been meant to be.
    spelled: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of passages in which it stands, 0 to 1."""
        return min(1.0, self.passages / max(self.of_all, 1))

    @property
    def is_stop(self) -> bool:
        """Whether the language knows it as a word that tells nothing."""
        return not self.stems

    @property
    def bare(self) -> str:
        """The lexeme of the word without its accents."""
        return Passage.BARE + terms.bare(self.word)

    @property
    def as_typed(self) -> str:
        """The tsquery of the word as it was typed; a stop word has no stem."""
        if self.spelled or self.is_stop:
            return self.loosely
        return " & ".join(map(_quoted, self.stems))

    @property
    def loosely(self) -> str:
        """The tsquery of the word without accents, or of what it may have been meant to be."""
        if self.spelled:
            return " | ".join(map(_quoted, self.spelled))
        return _quoted(self.bare) + (":*" if self.is_letter else "")

    @property
    def is_letter(self) -> bool:
        """Whether it is one letter of a script in which pairs are indexed: each pair's first."""
        return len(self.word) == 1 and terms.is_unspaced(self.word)

    @property
    def fit(self) -> list[Any]:
        """Two tsqueries, each with how well what it finds fits."""
        return [self.as_typed, _SPELLED if self.spelled else 1.0, self.loosely, self.least_fit]

    @property
    def least_fit(self) -> float:
        """How well it fits where it is said at all."""
        return _SPELLED if self.spelled else _FOLDED

    @property
    def either(self) -> str:
        """The tsquery of both."""
        return f"({self.as_typed} | {self.loosely})"


def query_terms(words: Sequence[str]) -> dict[str, list[Term]]:
    """Return the query's words as each configuration reads them, with their weights."""
    stems = _stems(words)
    if not stems:
        return {}
    found = {
        config: [Term(word, its.get(word, [])) for word in words] for config, its in stems.items()
    }
    counts = _counts(found)
    _spell(found, counts)
    for config, its in found.items():
        known = counts[config]
        of_all = known.get("", 0)
        has_content = not all(term.is_stop for term in its)
        for term in its:
            term.of_all = of_all
            names = term.spelled or [*term.stems, term.bare]
            term.passages = max((known.get(name, 0) for name in names), default=0)
            if term.is_letter:
                term.passages = max(term.passages, math.ceil(of_all * _OF_A_LETTER))
            tells = _STOP_WORD if term.is_stop and has_content else 1.0
            term.weight = tells * ranking.idf(term.passages, of_all)
    return found


def _stems(words: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Return the stems of words by configuration and word; of a stop word there is none."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_STEMS, [list(words)])
        for config, word, stems in cursor.fetchall():
            found[config][word] = stems
    return found


def _counts(found: Mapping[str, Sequence[Term]]) -> dict[str, dict[str, int]]:
    names = {""}
    for its in found.values():
        for term in its:
            names |= {term.bare, *term.stems}
    return _count(names)


def _count(names: Iterable[str]) -> dict[str, dict[str, int]]:
    asked = list(names)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, [asked, asked])
        for config, lexeme, count in cursor.fetchall():
            counts[config][lexeme] = max(int(count), 0)
    return counts


def _spell(found: Mapping[str, Sequence[Term]], counts: dict[str, dict[str, int]]) -> None:
    """Find what words that nobody says may have been meant to be."""
    known = {lexeme for its in counts.values() for lexeme, count in its.items() if count}
    by_word: dict[str, list[Term]] = defaultdict(list)
    for its in found.values():
        for term in its:
            by_word[term.word].append(term)
    suggested: dict[str, dict[str, list[str]]] = {}
    for word, its in by_word.items():
        is_said = any(name in known for term in its for name in (term.bare, *term.stems))
        if not is_said and len(word) >= spelling.MIN_CHARACTERS and word.isalpha():
            suggested[word] = _alike(terms.bare(word))
    wanted = {
        meant for by_config in suggested.values() for words in by_config.values() for meant in words
    }
    if not wanted:
        return
    stems = _stems(sorted(wanted))
    for config, its in found.items():
        for term in its:
            for meant in suggested.get(term.word, {}).get(config, ()):
                term.spelled += [Passage.BARE + meant, *stems[config].get(meant, [])]
    more = _count({name for its in found.values() for term in its for name in term.spelled})
    for config, its_counts in more.items():
        counts[config] |= its_counts


def _alike(word: str) -> dict[str, list[str]]:
    """Return by configuration what a word may have been meant to be."""
    trigrams = sorted(terms.trigrams(word))
    known: dict[str, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_ALIKE, [trigrams, trigrams])
        for config, lexeme, count, _ in cursor.fetchall():
            known[config][lexeme.removeprefix(Passage.BARE)] = count
    return {config: spelling.suggestions(word, its) for config, its in known.items()}


def _quoted(lexeme: str) -> str:
    """Return a lexeme as a tsquery writes it."""
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
