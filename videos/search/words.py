"""Passages by the words of a query: in each language by its stems, weighed by how rare they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from videos.models import Lexeme, LexemeChange, Passage
from videos.search.scope import Scope
from videos.text import ranking, spelling, terms
from videos.text.ranking import Place

#: Words of a query that are looked for.
_MAX_WORDS = 32
#: Passages of one language that the rarest words lead to, and that are looked at.
_MAX_LOOKED_AT = 3_000
#: Of those, the best are ranked by what stands around them; and again by phrases.
_MAX_RANKED, _MAX_READ = 400, 40
#: Segments after a passage into which a phrase may run.
_RUN_ON = 3
_STOP_WORD = 0.1
#: What must be said of the query in a language, as a share of what is in the best one.
_PROMISING = 0.6
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
_FOUND = f"""
    SELECT id, revision_id, chunk_id, first_segment, last_segment, start, "end",
        ARRAY[{{fits}}]::float8[]
    FROM (
        SELECT passage.*, {{columns}} FROM (
            SELECT * FROM {Passage._meta.db_table}
            WHERE text_config = %s AND lexemes @@ %s::tsquery AND revision_id IN ({{revisions}})
            LIMIT {_MAX_LOOKED_AT}
        ) AS passage
    ) AS fitting
    ORDER BY {{told}} DESC, id LIMIT {_MAX_RANKED}
    """
_FIT = (
    "CASE WHEN lexemes @@ %s::tsquery THEN %s::float8 "
    "WHEN lexemes @@ %s::tsquery THEN %s::float8 ELSE 0 END"
)
_TEXTS = """
    SELECT wanted.id, segment.text
    FROM unnest(%s::bigint[], %s::uuid[], %s::int[], %s::int[])
        AS wanted(id, revision_id, first_segment, last_segment)
    JOIN videos_revision revision ON revision.id = wanted.revision_id
    JOIN videos_segment segment ON segment.transcript_id = revision.transcript_id
        AND segment.index BETWEEN wanted.first_segment AND wanted.last_segment
    ORDER BY wanted.id, segment.index
    """


@dataclass
class Term:
    """A word of the query in one language."""

    word: str
    stems: list[str]
    #: In how many passages it stands, of how many.
    passages: int = 0
    #: How much it tells.
    weight: float = 0.0
    #: Of a word that nobody says: what it may have been meant to be.
    spelled: list[str] = field(default_factory=list)

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
        """The parameters of `_FIT`."""
        exactly, loosely = (_SPELLED, _SPELLED) if self.spelled else (1.0, _FOLDED)
        return [self.as_typed, exactly, self.loosely, loosely]

    @property
    def either(self) -> str:
        """The tsquery of both."""
        return f"({self.as_typed} | {self.loosely})"


@dataclass(frozen=True)
class ByWords:
    """What was found by words: shares of the query that are said, and passages, by their ids."""

    shares: dict[int, float]
    passages: dict[int, Place]
    #: The words that were looked for, and what they may have been meant to be.
    looked_for: list[str]


def by_words(typed: Sequence[str], scope: Scope) -> ByWords:
    """Rank the passages in which words are said, or near which; `typed` is in the query's order."""
    words = list(dict.fromkeys(typed))[:_MAX_WORDS]
    shares: dict[int, float] = {}
    passages: dict[int, Place] = {}
    looked_for = list(words)
    for config, its in _promising(_terms(words)).items():
        looked_for += [word.removeprefix(Passage.BARE) for term in its for word in term.spelled]
        found = _found(config, its, scope)
        weights = [term.weight for term in its]
        shares |= ranking.by_words(found, weights)
        passages |= {place.id: place for place, _ in found}
    folded = [terms.bare(word) for word in typed]
    if len(folded) > 1:
        nearest = sorted(shares, key=lambda each: -shares[each])[:_MAX_READ]
        for key, said in _said(passages[each] for each in nearest).items():
            shares[key] += ranking.phrase(said, folded)
    return ByWords(shares, passages, list(dict.fromkeys(looked_for)))


def _terms(words: Sequence[str]) -> dict[str, list[Term]]:
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
            names = term.spelled or [*term.stems, term.bare]
            term.passages = max((known.get(name, 0) for name in names), default=0)
            if term.is_letter:
                term.passages = max(term.passages, math.ceil(of_all * _OF_A_LETTER))
            tells = _STOP_WORD if term.is_stop and has_content else 1.0
            term.weight = tells * ranking.idf(term.passages, of_all)
    return found


def _promising(found: dict[str, list[Term]]) -> dict[str, list[Term]]:
    """Leave out languages in which hardly any of the query is ever said."""

    def reachable(its: Sequence[Term]) -> float:
        whole = sum(term.weight for term in its) or 1.0
        return sum(term.weight for term in its if term.passages) / whole

    shares = {config: reachable(its) for config, its in found.items()}
    least = _PROMISING * max(shares.values(), default=0.0)
    return {config: its for config, its in found.items() if shares[config] >= least}


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


def _found(config: str, its: Sequence[Term], scope: Scope) -> list[tuple[Place, list[float]]]:
    """Return the passages of a configuration that fit best, with how well each word does."""
    said = [term for term in its if term.passages]
    if not said:
        return []
    revisions, params = scope
    fits = [each for term in its for each in term.fit]
    names = [f"fit{number}" for number in range(len(its))]
    query = _FOUND.format(
        fits=", ".join(names),
        columns=", ".join(f"{_FIT} AS {name}" for name in names),
        told=" + ".join(f"{name} * %s::float8" for name in names),
        revisions=revisions,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            query, [*fits, config, _leading(said), *params, *(term.weight for term in its)]
        )
        return [(Place(*row[:-1]), row[-1]) for row in cursor.fetchall()]


def _leading(said: Sequence[Term]) -> str:
    """Return the tsquery of the rarest words, which do not lead to too many passages.

    Of more frequent ones two have to stand together. Stop words lead only where there is nothing
    else.
    """
    content = [term for term in said if not term.is_stop]
    rarest = sorted(content or said, key=lambda term: term.passages)
    looked_at, leading = 0, []
    for term in rarest:
        looked_at += term.passages
        if looked_at > _MAX_LOOKED_AT:
            break
        leading.append(term.either)
    if frequent := rarest[len(leading) :]:
        leading.append(" & ".join(term.either for term in frequent[:2]))
    return " | ".join(f"({each})" for each in leading)


def _said(passages: Iterable[Place]) -> dict[int, list[str]]:
    """Return the words of passages, and some that follow, without accents."""
    rows = [
        (each.id, each.revision_id, each.first_segment, each.last_segment + _RUN_ON)
        for each in passages
    ]
    said: dict[int, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_TEXTS, list(map(list, zip(*rows, strict=True))) or [[], [], [], []])
        for key, text in cursor.fetchall():
            said[key] += [terms.bare(word) for word in terms.words(text)]
    return said


def _quoted(lexeme: str) -> str:
    """Return a lexeme as a tsquery writes it."""
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
