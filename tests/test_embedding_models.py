"""Which embedding model serves: the switch, the way back, and what is dropped later."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.conftest import eventually
from tests.rows import completed_video
from tests.test_commands import manage
from videos.durable.sweep import sweep
from videos.management.reporting import Failed
from videos.models import Chunk, Embedding, Revision, Segment, ServingModel, Video
from videos.pipeline import corrections, embedding_models
from videos.pipeline.corrections import Seen
from videos.pipeline.vectors import Space
from videos.search import search

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_indexes"),
]

OLD, NEW = Space("text-embedding-3-small", 32), Space("other-embed", 32)


@pytest.fixture
def videos(creator, settings):
    """Two videos with vectors of the old model, while the new one is configured."""
    made = [completed_video(creator) for _ in range(2)]
    assert serving() == (OLD, Space("", 0))
    settings.CHRONOS_EMBEDDING_MODEL = NEW.model
    return made


def serving():
    row = ServingModel.objects.get()
    return Space(row.model, row.dimensions), Space(row.former_model, row.former_dimensions)


def fill(video):
    """Give a video the new model's vectors, as a run that embeds does."""
    for row in Embedding.objects.filter(chunk__revision=video.revision, model=OLD.model):
        row.pk, row.model = None, NEW.model
        row.save()
    Revision.objects.filter(pk=video.revision_id).update(
        embedding_model=NEW.model, embedding_dimensions=32
    )


def switch(videos):
    for video in videos:
        fill(video)
    assert embedding_models.serve_when_ready()
    assert serving() == (NEW, OLD)


def test_the_last_video_switches(videos):
    fill(videos[0])
    assert not embedding_models.serve_when_ready()
    assert serving()[0] == OLD
    assert manage("embedding_models", "--json")["models"] == [
        listed(OLD, serves=True),
        listed(NEW, chunks=1, lacking_videos=1, configured=True),
    ]

    fill(videos[1])
    assert embedding_models.serve_when_ready()
    assert serving() == (NEW, OLD)
    assert embedding_models.serve_when_ready(), "it serves already"


def listed(space, **said):
    return {
        "model": space.model,
        "dimensions": space.dimensions,
        "chunks": 2,
        "lacking_videos": 0,
        "serves": False,
        "configured": False,
        "indexed": False,
    } | said


def test_the_way_back_stays_until_the_new_one_is_wanted_again(videos):
    switch(videos)

    said = manage("embedding_models", "--serve", str(OLD), "--json")
    assert said["models"][0] == listed(OLD, serves=True)
    assert serving() == (OLD, NEW)
    assert not embedding_models.serve_when_ready(), "a run that finishes does not undo it"
    assert serving()[0] == OLD
    assert search("sentence", Video.objects.all(), mode="vector")

    manage("embedding_models", "--serve", str(NEW))
    assert serving() == (NEW, OLD)
    assert not ServingModel.objects.get().is_rolled_back


def test_what_lacks_vectors_is_told_before_a_way_back(videos, creator, settings):
    switch(videos)
    later = completed_video(creator)
    Embedding.objects.filter(chunk__revision=later.revision).update(model=NEW.model)

    with pytest.raises(Failed, match="1 video"):
        call_command("embedding_models", "--serve", str(OLD))
    assert serving()[0] == NEW

    manage("embedding_models", "--serve", str(OLD), "--incomplete")
    assert serving()[0] == OLD
    with pytest.raises(Failed, match="no vectors of nothing/8"):
        call_command("embedding_models", "--serve", "nothing/8", "--incomplete")


def test_a_switch_waits_for_an_index_where_the_old_model_has_one(videos):
    call_command("index_embeddings", verbosity=0)
    for video in videos:
        fill(video)
    assert not embedding_models.serve_when_ready()
    assert serving()[0] == OLD

    assert manage("index_embeddings", "--json")["model"] == NEW.model

    assert serving() == (NEW, OLD)
    assert ServingModel.objects.get().has_index()


def test_the_former_ones_vectors_are_dropped_after_a_while(videos, settings):
    call_command("index_embeddings", verbosity=0)
    switch_with_index(videos)

    sweep()
    assert Embedding.objects.filter(model=OLD.model).exists()

    ServingModel.objects.update(since=timezone.now() - timedelta(days=31))
    sweep()

    assert not Embedding.objects.filter(model=OLD.model).exists()
    assert Embedding.objects.filter(model=NEW.model).exists()
    assert serving() == (NEW, Space("", 0))
    assert not embedding_models.serving_of(OLD).has_index()


def switch_with_index(videos):
    for video in videos:
        fill(video)
    call_command("index_embeddings", verbosity=0)
    assert serving() == (NEW, OLD)


@pytest.mark.parametrize(("days", "configured"), [(0, NEW.model), (30, OLD.model)])
def test_what_is_to_stay_stays(videos, settings, days, configured):
    switch(videos)
    settings.CHRONOS_KEEP_FORMER_VECTORS_DAYS = days
    settings.CHRONOS_EMBEDDING_MODEL = configured
    ServingModel.objects.update(since=timezone.now() - timedelta(days=500))

    sweep()

    assert Embedding.objects.filter(model=OLD.model).exists()


def test_dropping_by_hand_refuses_what_is_in_use(videos, monkeypatch):
    switch(videos)
    monkeypatch.setattr(embedding_models, "_AT_ONCE", 1)
    with pytest.raises(Failed, match="in use"):
        call_command("embedding_models", "--drop", str(NEW))

    rows = Embedding.objects.filter(model=OLD.model).count()
    said = manage("embedding_models", "--drop", str(OLD), "--json")

    assert rows > 1
    assert (said["dropped"], len(said["models"])) == (rows, 1)
    assert Chunk.objects.count() == 2


def test_a_video_that_failed_is_not_waited_for(videos):
    fill(videos[0])
    Video.objects.filter(pk=videos[1].pk).update(status="failed")

    assert embedding_models.serve_when_ready()
    assert serving() == (NEW, OLD)


def test_it_says_what_there_is_to_people(videos, capsys):
    call_command("embedding_models")
    out = capsys.readouterr().out
    assert "text-embedding-3-small/32: 2 chunks, complete (serves)" in out


def test_a_correction_is_embedded_for_the_model_that_still_serves(videos, creator, openai, worker):
    video = videos[0]
    fill(video)
    segment = Segment.objects.filter(transcript__video=video).first()
    corrections.rewrite(video, creator, Seen(segment.pk, segment.version), "Nobody had said so.")

    def is_embedded():
        (chunk,) = video.revision.chunks.all()
        whole = Embedding.objects.filter(chunk=chunk, segment_index=None)
        current = whole.filter(text_hash=chunk.content_hash)
        return set(current.values_list("model", flat=True)) == {OLD.model, NEW.model}

    assert eventually(is_embedded)
