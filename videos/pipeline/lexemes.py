"""Adding up in how many passages each lexeme stands, from what the triggers have noted."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from videos.durable.registry import Chore, registry
from videos.models import Lexeme, LexemeChange, Passage
from videos.text.spelling import MIN_CHARACTERS

#: Searches add up what is left themselves; it only must not become much.
_EVERY = timedelta(seconds=10)
_AT_ONCE = 50_000
#: In one order, so that two who add up at once wait for each other and never in a circle.
_ADD_UP = f"""
    WITH gone AS (
        DELETE FROM {LexemeChange._meta.db_table} WHERE id IN (
            SELECT id FROM {LexemeChange._meta.db_table} ORDER BY id LIMIT %s
            FOR UPDATE SKIP LOCKED
        )
        RETURNING text_config, lexeme, change
    )
    INSERT INTO {Lexeme._meta.db_table} AS known (text_config, lexeme, passages, trigrams)
    SELECT text_config, lexeme, sum(change), CASE
        WHEN lexeme LIKE '{Passage.BARE}%%' AND length(lexeme) > {MIN_CHARACTERS}
        THEN (
            SELECT array_agg(DISTINCT substr('  ' || substr(lexeme, 2) || ' ', at, 3))
            FROM generate_series(1, length(lexeme)) AS at
        ) END
    FROM gone GROUP BY text_config, lexeme ORDER BY lexeme, text_config
    ON CONFLICT (lexeme, text_config) DO UPDATE SET passages = known.passages + excluded.passages
    """


def _due() -> QuerySet[LexemeChange]:
    return LexemeChange.objects.filter(created_at__lte=Now() - _EVERY)


def add_up() -> None:
    """Bring `Lexeme` up to date with all changes that are committed."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD_UP, [_AT_ONCE])
        while cursor.rowcount:
            cursor.execute(_ADD_UP, [_AT_ONCE])
    Lexeme.objects.filter(passages__lte=0).delete()


registry.chores["lexemes"] = Chore(_due, add_up)
