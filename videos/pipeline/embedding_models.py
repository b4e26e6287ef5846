"""Which embedding model searches compare with: the switch to another, the way back, and the end.

A new model's vectors are filled in beside the old one's, which serves meanwhile. Once the last
video has them, one statement switches. The former model's vectors stay for a while, for the way
back, and are dropped later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.utils import timezone
from psycopg import sql

from videos.conf import conf
from videos.durable import transactions
from videos.durable.registry import Chore, registry
from videos.exceptions import ChronosError
from videos.models import Chunk, Embedding, Revision, ServingModel, Video
from videos.pipeline.vectors import (
    Space,
    configured_space,
    of_chunks,
    serving_space,
    space_of,
)

_AT_ONCE = 5_000
#: What is not waited for: nobody finds them by meaning until they are embedded again.
_ENDED = (Video.Status.FAILED, Video.Status.CANCELLED)


@dataclass(frozen=True)
class Filled:
    """How far a model's vectors are, and what it is used for."""

    space: Space
    chunks: int
    #: Videos in force that lack its vectors.
    lacking_videos: int
    is_serving: bool
    is_configured: bool
    has_index: bool


def serving_of(space: Space) -> ServingModel:
    """Return a space as the row that it is, or would be, while it serves."""
    return ServingModel(model=space.model, dimensions=space.dimensions)


def lacking(space: Space) -> QuerySet[Video]:
    """Return the videos in force that a switch to a space would leave without vectors."""
    vectors = of_chunks(space).filter(chunk=OuterRef("pk"))
    chunks = Chunk.objects.filter(~Exists(vectors), revision=OuterRef("revision"))
    return Video.objects.filter(Exists(chunks)).exclude(status__in=_ENDED).order_by("pk")


def filled() -> list[Filled]:
    """Return what there is of each model, the one that serves first; it reads all of an index."""
    serving = serving_space()
    counted = (
        Embedding.objects.filter(segment_index=None)
        .order_by()
        .values_list("model", "dimensions")
        .annotate(chunks=Count("pk"))
    )
    chunks = {Space(model, dimensions): count for model, dimensions, count in counted}
    found = [
        Filled(
            space=space,
            chunks=count,
            lacking_videos=lacking(space).count(),
            is_serving=space == serving,
            is_configured=space == configured_space(),
            has_index=serving_of(space).has_index(),
        )
        for space, count in chunks.items()
    ]
    return sorted(found, key=lambda each: (not each.is_serving, str(each.space)))


def serve_when_ready() -> bool:
    """Let searches use the configured model once every video in force has its vectors.

    Where the one that serves has an index, the new one's must be built before, too
    (`index_embeddings`): a search is never slower for a switch. Return whether it serves.
    """
    space, serving = configured_space(), ServingModel.objects.first()
    if serving is not None:
        if space_of(serving) == space:
            return True
        went_back = serving.is_rolled_back and _former_of(serving) == space
        if went_back or (serving.has_index() and not serving_of(space).has_index()):
            return False
    with transaction.atomic():
        # Of two runs that finish at once, the second must see what the first has put in force.
        transactions.hold(transactions.SERVING)
        others = Revision.objects.exclude(
            embedding_model=space.model, embedding_dimensions=space.dimensions
        )
        if Video.objects.exclude(status__in=_ENDED).filter(revision__in=others).exists():
            return False
        _switch(space)
    return True


def serve(space: Space, *, incomplete: bool = False) -> None:
    """Let searches use a model's vectors from now on: a switch by hand, or the way back.

    Where another one is configured, it does not serve by itself again.

    Raises:
        ChronosError: if it has no vectors, or (unless `incomplete`) videos lack them.
    """
    vectors = Embedding.objects.filter(model=space.model, dimensions=space.dimensions)
    if not vectors.exists():
        raise ChronosError(f"There are no vectors of {space}: nothing could be found by them.")
    with transaction.atomic():
        transactions.hold(transactions.SERVING)
        count = 0 if incomplete else lacking(space).count()
        if count:
            raise ChronosError(
                f"{count} video(s) have no vectors of {space}, and would be found by words alone."
            )
        _switch(space, is_rolled_back=space != configured_space())


def drop(space: Space, told: Callable[[int], object] = lambda dropped: None) -> int:
    """Delete a model's vectors and its index, in batches; return how many there were.

    Raises:
        ChronosError: if it serves searches, or is the configured one.
    """
    if space in (configured_space(), serving_space()):
        raise ChronosError(f"{space} is in use: its vectors stay.")
    _drop_index(serving_of(space))
    dropped, last = 0, 0
    while True:
        # Through the primary key, each row read once: the dead ones are behind.
        ids = list(
            Embedding.objects.filter(pk__gt=last, model=space.model, dimensions=space.dimensions)
            .order_by("pk")
            .values_list("pk", flat=True)[:_AT_ONCE]
        )
        if not ids:
            break
        last = ids[-1]
        Embedding.objects.filter(pk__in=ids).delete()
        dropped += len(ids)
        told(dropped)
    ServingModel.objects.filter(
        former_model=space.model, former_dimensions=space.dimensions
    ).update(former_model="", former_dimensions=0, is_rolled_back=False)
    return dropped


def _switch(space: Space, *, is_rolled_back: bool = False) -> None:
    """Put a model in the place of the one that serves; call it with the lock of `SERVING`."""
    serving = ServingModel.objects.first()
    if serving is None:
        serving_of(space).save()
    elif space_of(serving) != space:
        ServingModel.objects.update(
            model=space.model,
            dimensions=space.dimensions,
            since=timezone.now(),
            former_model=serving.model,
            former_dimensions=serving.dimensions,
            is_rolled_back=is_rolled_back,
        )


def _former_of(serving: ServingModel) -> Space:
    return Space(serving.former_model, serving.former_dimensions)


def _drop_index(serving: ServingModel) -> None:
    statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
    with connection.cursor() as cursor:
        cursor.execute(statement.format(sql.Identifier(serving.index_name)))


def _former() -> QuerySet[ServingModel]:
    """Return the row that serves, if the model before it has been kept for long enough."""
    days, space = conf().keep_former_vectors_days, configured_space()
    if not days:
        return ServingModel.objects.none()
    return (
        ServingModel.objects.filter(since__lt=timezone.now() - timedelta(days=days))
        .exclude(former_model="")
        .exclude(former_model=space.model, former_dimensions=space.dimensions)
    )


def _drop_former() -> None:
    for serving in _former():
        drop(_former_of(serving))


registry.chores["former vectors"] = Chore(_former, _drop_former)
