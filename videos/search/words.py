"""Passages by the words of a query: in each language by its stems, weighed by how rare they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import mul

from django.db import connection

from videos.models import Passage
from videos.search.query_terms import Term, query_terms
from videos.search.scope import LINES_OF_PLACES, Scope, lines_of
from videos.text import ranking, terms
from videos.text.ranking import Place

#: Words of a query that are looked for.
_MAX_WORDS = 32
#: Passages of one language that rare words lead to, and as many that frequent ones do.
_MAX_LOOKED_AT = 3_000
#: Of those, the best are ranked by what stands around them; and again by phrases.
_MAX_RANKED, _MAX_READ = 400, 40
#: Segments after a passage into which a phrase may run.
_RUN_ON = 3
#: What must be said of the query in a language, as a share of what is in the best one.
_PROMISING = 0.6
_FOUND = f"""
    SELECT id, revision_id, chunk_id, first_segment, last_segment, start, "end",
        ARRAY[{{fits}}]::float8[]
    FROM (
        SELECT passage.*, {{columns}} FROM ({{looked_at}}) AS passage
        OFFSET 0 -- Else each fit would be computed twice, for the order as well.
    ) AS fitting
    ORDER BY {{told}} DESC, id LIMIT {_MAX_RANKED}
    """
_LED_TO = f"""
    (SELECT * FROM {Passage._meta.db_table}
    WHERE revision_id IN ({{revisions}}) AND text_config = %s AND lexemes @@ %s::tsquery
    {{not_yet}} LIMIT {_MAX_LOOKED_AT})
    """
#: The same of few videos, each of whose passages is read: Postgres takes frequent words to be rarer
#: than they are, and would read all the site has of them.
_READ = f"""
    (SELECT passage.* FROM (
        SELECT * FROM {Passage._meta.db_table} WHERE revision_id IN ({{revisions}}) OFFSET 0
    ) AS passage
    WHERE text_config = %s AND lexemes @@ %s::tsquery)
    """
_NOT_YET = "AND NOT lexemes @@ %s::tsquery"
_FIT = (
    "CASE WHEN lexemes @@ %s::tsquery THEN %s::float8 "
    "WHEN lexemes @@ %s::tsquery THEN %s::float8 ELSE 0 END"
)
_TEXTS = f"""
    SELECT wanted.id, segment.text FROM {LINES_OF_PLACES} ORDER BY wanted.id, segment.index
    """


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
    for config, its in _promising(query_terms(words)).items():
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


def _promising(found: dict[str, list[Term]]) -> dict[str, list[Term]]:
    """Leave out languages in which hardly any of the query is ever said."""

    def reachable(its: Sequence[Term]) -> float:
        whole = sum(term.weight for term in its) or 1.0
        return sum(term.weight for term in its if term.passages) / whole

    shares = {config: reachable(its) for config, its in found.items()}
    least = _PROMISING * max(shares.values(), default=0.0)
    return {config: its for config, its in found.items() if shares[config] >= least}


def _found(config: str, its: Sequence[Term], scope: Scope) -> list[tuple[Place, list[float]]]:
    """Return the passages of a configuration that fit best, with how well each word does."""
    said = [term for term in its if term.passages]
    if not said:
        return []
    # Stop words lead only where there is nothing else.
    content = [term for term in said if not term.is_stop] or said
    rare, frequent = _by_frequency(content)
    if frequent and scope.is_small:
        return _fitting(_READ, [_any(content)], config, its, scope)
    found: list[tuple[Place, list[float]]] = []
    for leads, enough in _tries(rare, frequent, its, is_few=scope.is_few):
        found = _fitting(_LED_TO, leads, config, its, scope)
        if len(found) >= enough:
            break
    return found


def _by_frequency(words: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    """Return the rarest words, all of whose passages are looked at, and the others."""
    rarest = sorted(words, key=lambda term: (term.is_letter, term.passages))
    # How often a letter is said, nobody counts.
    so_far = accumulate(math.inf if term.is_letter else term.passages for term in rarest)
    rare = sum(passages <= _MAX_LOOKED_AT for passages in so_far)
    return rarest[:rare], rarest[rare:]


def _fitting(
    led_to: str, leads: Sequence[str], config: str, its: Sequence[Term], scope: Scope
) -> list[tuple[Place, list[float]]]:
    """Return the passages that fit best of those that tsqueries lead to."""
    fits = [each for term in its for each in term.fit]
    names = [f"fit{number}" for number in range(len(its))]
    looked_at, led = [], []
    for place, lead in enumerate(leads):
        before = [" | ".join(leads[:place])] if place else []
        looked_at.append(led_to.format(revisions=scope.sql, not_yet=_NOT_YET if before else ""))
        led.append([*scope.params, config, lead, *before])
    query = _FOUND.format(
        fits=", ".join(names),
        columns=", ".join(f"{_FIT} AS {name}" for name in names),
        told=" + ".join(f"{name} * %s::float8" for name in names),
        looked_at=" UNION ALL ".join(looked_at),
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [*fits, *chain(*led), *(term.weight for term in its)])
        return [(Place(*row[:-1]), row[-1]) for row in cursor.fetchall()]


def _tries(
    rare: Sequence[Term], frequent: Sequence[Term], its: Sequence[Term], *, is_few: bool
) -> Iterator[tuple[list[str], int]]:
    """Yield tsqueries that lead to what is looked at, and how many passages are enough.

    All that has one of the rare words is looked at; alone, where nothing else can be among the
    best of so many. Of the frequent ones as many have to stand together as leave no more than are
    looked at; where that is too little, two; then any has to be said. Among many videos one
    frequent word leads only where nothing else does.
    """
    leads = [_any(rare)] if rare else []
    if not frequent:
        yield leads, 0
        return
    if rare and len(frequent) > 1 and _decides(rare, its):
        yield leads, _MAX_RANKED
    expected = accumulate((term.share for term in frequent), mul, initial=frequent[0].of_all)
    needed = sum(passages > _MAX_LOOKED_AT for passages in expected)
    if min(needed, len(frequent)) > 2 and not is_few:
        leads.append(_all(frequent[:needed]))
        yield leads, _MAX_READ
    if len(frequent) > 1:
        leads.append(_all(frequent[:2]))
    if leads:
        yield leads, _MAX_READ if is_few else 1
    yield [*leads, _any(frequent)], 0


def _decides(rare: Sequence[Term], its: Sequence[Term]) -> bool:
    """Whether what has any of the rare words fits better than what has all others that are said."""
    others = sum(term.weight for term in its if term.passages and term not in rare)
    return min(term.weight * term.least_fit for term in rare) > others


def _any(said: Sequence[Term]) -> str:
    return " | ".join(term.either for term in said)


def _all(said: Sequence[Term]) -> str:
    return " & ".join(term.either for term in said)


def _said(passages: Iterable[Place]) -> dict[int, list[str]]:
    """Return the words of passages, and some that follow, without accents."""
    said: dict[int, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_TEXTS, lines_of(passages, _RUN_ON))
        for key, text in cursor.fetchall():
            said[key] += terms.words(terms.bare(text))
    return said
