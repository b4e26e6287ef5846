"""The passages of chunks: the rows that searches rank by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from videos.durable.registry import Chore, registry
from videos.models import Chunk, Passage, Revision, Segment
from videos.text import terms
from videos.text.languages import text_config
from videos.text.passages import passages_of

_ROWS_PER_STATEMENT = 1_000
_REVISIONS_AT_ONCE = 20
_INSERT = f"""
    INSERT INTO {Passage._meta.db_table} (
        chunk_id, revision_id, first_segment, last_segment, start, "end", text_config, lexemes
    )
    SELECT chunk_id, %s, first_segment, last_segment, start, "end", %s,
        strip(to_tsvector(%s::regconfig, words))
            || array_to_tsvector(string_to_array(bare, ' '))
    FROM unnest(
        %s::uuid[], %s::int[], %s::int[], %s::float8[], %s::float8[], %s::text[], %s::text[]
    )
        AS rows(chunk_id, first_segment, last_segment, start, "end", words, bare)
    """


def store(
    revision: Revision, chunks: Sequence[Chunk], segments: Sequence[Segment], **fields: Any
) -> None:
    """Store the passages of all chunks of a revision, which has none; hold it first.

    `fields` are what else is written of the revision.
    """
    _insert(revision, chunks, segments)
    Revision.objects.filter(pk=revision.pk).update(has_passages=True, **fields)


def rewrite(revision: Revision, chunks: Sequence[Chunk], segments: Sequence[Segment]) -> None:
    """Make the passages of some chunks again; where a revision has none, the sweep makes them."""
    if hold(revision):
        Passage.objects.filter(chunk__in=[chunk.pk for chunk in chunks]).delete()
        _insert(revision, chunks, segments)


def hold(revision: Revision) -> bool:
    """Keep others from making a revision's passages, until the commit; tell whether it has them."""
    held = Revision.objects.select_for_update(no_key=True).filter(pk=revision.pk)
    revision.has_passages, revision.chunked_at = held.values_list(
        "has_passages", "chunked_at"
    ).get()
    return revision.has_passages


def _insert(revision: Revision, chunks: Sequence[Chunk], segments: Sequence[Segment]) -> None:
    assert revision.transcript is not None
    config = text_config(revision.transcript.language)
    rows = []
    for chunk in chunks:
        for passage in passages_of(chunk, segments):
            said = terms.words(passage.text)
            bare = dict.fromkeys(Passage.BARE + terms.bare(word) for word in said)
            rows.append(
                (
                    *(chunk.pk, passage.first_segment, passage.last_segment),
                    *(passage.start, passage.end, " ".join(said), " ".join(bare)),
                )
            )
    with connection.cursor() as cursor:
        for begin in range(0, len(rows), _ROWS_PER_STATEMENT):
            columns = map(list, zip(*rows[begin : begin + _ROWS_PER_STATEMENT], strict=True))
            cursor.execute(_INSERT, [revision.pk, config, config, *columns])


def _lacking() -> QuerySet[Revision]:
    """Return revisions that were chunked before there were passages."""
    return Revision.objects.filter(has_passages=False, chunked_at__isnull=False)


def store_lacking() -> None:
    """Store the passages of some revisions that were chunked before there were any."""
    for pk in list(_lacking().values_list("pk", flat=True)[:_REVISIONS_AT_ONCE]):
        with transaction.atomic():
            # Who chunks or corrects it now holds it, and is waited for next time.
            free = _lacking().select_for_update(skip_locked=True, no_key=True, of=("self",))
            revision = free.filter(pk=pk).select_related("transcript").first()
            if revision is None:
                continue
            if revision.transcript is None:
                Revision.objects.filter(pk=pk).update(has_passages=True)
                continue
            revision.passages.all().delete()
            store(revision, list(revision.chunks.all()), list(revision.transcript.segments.all()))


registry.chores["passages"] = Chore(_lacking, store_lacking)
