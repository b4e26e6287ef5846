"""Writing vectors: many at once, and never with a transaction open while they are encoded."""

import re
import threading
import uuid
from dataclasses import replace as replaced

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pgvector import HalfVector

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from tests.rows import completed_video, spoken_video
from videos import events
from videos.durable import claims, execution
from videos.exceptions import EventRefused, HandedOver, UnknownChunk
from videos.local.semaphores import acquired
from videos.models import (
    Call,
    Chunk,
    Embedding,
    Passage,
    Revision,
    Run,
    ServingModel,
    Video,
    Worker,
)
from videos.pipeline import embed as stage
from videos.pipeline.vectors import Space, VectorRow, encode, replace, writers
from videos.search import search
from videos.search.scope import scope
from videos.search.vectors import Asked, by_vector

pytestmark = pytest.mark.django_db(transaction=True)

WIDE = Space("wide", 1536)


def rows_of(chunk, count, seed=0):
    numbers = np.random.default_rng(seed).standard_normal((count, WIDE.dimensions))
    return [
        VectorRow(chunk.pk, index or None, f"{index:064}", HalfVector(row.astype(np.float32)))
        for index, row in enumerate(numbers)
    ]


def test_what_is_written_is_what_is_read(creator):
    chunk = Chunk.objects.filter(revision=completed_video(creator).revision).get()
    rows = rows_of(chunk, 5)

    for _ in range(2):  # The second time over the first.
        replace([chunk.pk], WIDE, encode(rows, WIDE))

    stored = Embedding.objects.filter(model="wide").order_by("segment_index")
    assert {(row.segment_index, row.text_hash) for row in stored} == {
        (row.segment_index, row.text_hash) for row in rows
    }
    by_hash = {row.text_hash: row for row in stored}
    assert all(HalfVector(by_hash[row.text_hash].vector) == row.vector for row in rows)
    assert all(by_hash[row.text_hash].dimensions == 1536 for row in rows)


def test_vectors_of_other_models_stay(creator):
    chunk = Chunk.objects.filter(revision=completed_video(creator).revision).get()
    before = Embedding.objects.count()

    replace([chunk.pk], WIDE, encode(rows_of(chunk, 3), WIDE))

    assert Embedding.objects.count() == before + 3


def test_many_batches_that_come_back_at_once_are_all_stored(creator, settings):
    """With a bound on silence that the old way, which encoded in the transaction, broke."""
    chunks = [Chunk.objects.get(revision=completed_video(creator).revision_id) for _ in range(24)]
    silence = "'idle_in_transaction_session_timeout', '1500ms'"
    errors = []
    together = threading.Barrier(24)

    def write(chunk):
        try:
            rows = rows_of(chunk, 820)
            claim = claimed(chunk)
            together.wait()
            with acquired(writers, claim.check):
                encoded = encode(rows, WIDE)
                with claim.guard():
                    with connection.cursor() as cursor:
                        cursor.execute(f"SELECT set_config({silence}, true)")
                    replace([chunk.pk], WIDE, encoded)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[chunk]) for chunk in chunks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert Embedding.objects.filter(model="wide").count() == 24 * 820


def claimed(chunk):
    video = chunk.revision.video
    run = Run.objects.create(
        function="reembed_video",
        stage="embed",
        state="running",
        video=video,
        lease_until="2100-01-01T00:00Z",
    )
    return claims.Claim(run, "embed", 60)


def test_a_worker_that_waits_for_its_turn_looks_at_its_claim():
    class Ended(BaseException):
        pass

    def end():
        raise Ended

    import os

    held = [acquired(writers) for _ in range(os.cpu_count() or 1)]
    for other in held:
        other.__enter__()
    try:
        with pytest.raises(Ended), acquired(writers, end):
            pass
    finally:
        for other in held:
            other.__exit__(None, None, None)


@pytest.fixture
def lose_connection(monkeypatch):
    """Have the first writes of vectors find their connection gone, so many times."""

    def lose(times, at):
        left = [times]
        original = replace

        def replace_or_lose(*args):
            if at == "after":
                original(*args)
            if left[0]:
                left[0] -= 1
                connection.connection.close()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            if at == "before":
                original(*args)

        monkeypatch.setattr("videos.pipeline.embed.replace", replace_or_lose)

    return lose


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_paid_answer_outlives_the_loss_of_the_database(
    upload, worker, openai, lose_connection, at
):
    lose_connection(2, at)

    video = ended(upload())

    assert (video.status, len(openai.embedded())) == ("completed", 1)
    assert Call.objects.get(service="embedding").used
    assert video.runs.get().deaths == 0


def test_an_answer_that_can_never_be_stored_is_booked_as_paid(upload, worker, monkeypatch):
    def refuse(*_):
        raise ValueError("not this one")

    monkeypatch.setattr("videos.pipeline.embed.replace", refuse)

    video = ended(upload())

    assert video.status == "failed"
    booked = Call.objects.filter(service="embedding")
    assert {(call.state, call.used) for call in booked} == {("answered", False)}
    assert all(call.tokens for call in booked)


def test_an_answer_that_is_in_hand_when_the_claim_ends_is_booked(
    upload, worker, openai, monkeypatch
):
    """Handed over while other batches are written: not lost, and `finish` misses nothing."""
    original = stage._Embedding._encoded
    handed = []

    def encode_while_handed_over(*arguments):
        if not handed:
            handed.append(1)
            claims.live_claims()[0].abort(HandedOver())
            raise HandedOver
        return original(*arguments)

    monkeypatch.setattr(stage._Embedding, "_encoded", encode_while_handed_over)

    video = ended(upload())

    assert (video.status, video.error) == ("completed", "")
    booked = Call.objects.filter(service="embedding").order_by("sent_at")
    assert [(call.state, call.used) for call in booked] == [("answered", False), ("answered", True)]


# One embedding model after another


@pytest.fixture
def other_model(settings, openai):
    settings.CHRONOS_EMBEDDING_MODEL = "other-embed"
    openai.dimensions = settings.CHRONOS_EMBEDDING_DIMENSIONS
    # Other words than before, of which no vectors are known.
    openai.hear = lambda seconds: [(0, seconds, "Quite another sentence.")]


def found(video):
    return [
        hit.video for hit in search("sentence", Video.objects.filter(pk=video.pk), mode="vector")
    ]


def test_a_new_upload_is_found_by_vector_before_the_models_switch(
    upload, worker, openai, creator, request
):
    old = ended(upload())
    request.getfixturevalue("other_model")

    new = ended(upload(title="new", language="de"))

    assert ServingModel.objects.get().model == "text-embedding-3-small"
    assert (found(old), found(new)) == ([old], [new])
    models = set(Embedding.objects.filter(chunk__revision=new.revision).values_list("model"))
    assert models == {("text-embedding-3-small",), ("other-embed",)}


def test_a_run_that_others_have_embedded_otherwise_embeds_once_more(upload, request):
    """Its worker died after `embed`, and the next has other settings."""
    Worker.objects.create(pid=1, host="h", threads=4, last_seen=timezone.now())
    run = upload().runs.get()
    for name in ("transcribe", "chunk", "embed"):
        assert execution.run_claimed(run.pk, name, None, carries_on=False)
    request.getfixturevalue("other_model")

    assert execution.run_claimed(run.pk, "finish", None)

    video = Video.objects.get()
    assert (video.status, video.error) == ("completed", "")
    assert video.revision.embedding_model == "other-embed"


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_what_failed_or_was_cancelled_does_not_hold_the_old_model(upload, worker, request, status):
    old = ended(upload())
    Video.objects.filter(pk=old.pk).update(status=status)
    request.getfixturevalue("other_model")

    new = ended(upload(language="de"))

    assert ServingModel.objects.get().model == "other-embed"
    assert found(new) == [new]


def test_an_upload_completes_without_a_serving_model_that_is_gone(upload, worker, openai, request):
    ended(upload())
    request.getfixturevalue("other_model")
    ServingModel.objects.update(model="of-yesterday")

    new = ended(upload(language="de"))

    assert new.status == "completed"
    step = new.runs.get().steps.get(key__contains="of-yesterday")
    assert (step.state, "of-yesterday" in step.error) == ("failed", True)


def test_a_serving_model_that_fails_for_a_moment_is_asked_again(
    upload, worker, openai, request, monkeypatch
):
    ended(upload())
    request.getfixturevalue("other_model")
    failing = [Fault(status=500)]

    def fault(call):
        return failing.pop() if call.model == "text-embedding-3-small" and failing else None

    monkeypatch.setattr(openai, "take_fault", fault)

    new = ended(upload(language="de"))

    assert (new.status, found(new), failing) == ("completed", [new], [])


def test_the_check_of_what_serves_reads_no_chunks(creator, settings, django_assert_max_num_queries):
    from videos.pipeline.embedding_models import serve_when_ready

    for _ in range(3):
        completed_video(creator)
    settings.CHRONOS_EMBEDDING_MODEL = "other-embed"

    from django.db import transaction
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as asked, transaction.atomic():
        serve_when_ready()

    assert not any("videos_chunk" in query["sql"] for query in asked)


# Named chunks


def test_embedding_one_named_chunk_again_leaves_a_completed_video_complete(
    upload, worker, openai, request
):
    openai.hear = lambda seconds: [(n, n + 1, f"word{n} " * 400 + ".") for n in range(6)]
    video = ended(upload())
    chunks = list(video.revision.chunks.all())
    assert len(chunks) > 1
    request.getfixturevalue("other_model")

    event = events.send(
        "video/embed.requested",
        {
            "video_id": video.pk,
            "creator_id": video.creator_id,
            "chunk_ids": [chunks[0].pk],
        },
    )

    eventually(lambda: event.runs.get().finished_at)
    assert (ended(video).status, event.runs.get().state) == ("completed", "completed")
    embedded = Embedding.objects.filter(model="other-embed").values_list("chunk", flat=True)
    assert set(embedded) == {chunks[0].pk}
    assert found(video) == [video] * len(found(video))
    assert ServingModel.objects.get().model == "text-embedding-3-small"


@pytest.mark.parametrize(("named", "field"), [([], "chunk_ids"), ([uuid.uuid4()], "chunk_ids.0")])
def test_no_chunk_or_an_unknown_one_is_refused(creator, named, field):
    video = completed_video(creator)
    data = {"video_id": video.pk, "creator_id": creator.pk, "chunk_ids": named}

    with pytest.raises((EventRefused, UnknownChunk)) as refused:
        events.send("video/embed.requested", data)
    assert refused.value.field == field


def test_named_chunks_of_the_revision_in_force_are_embedded_beside_an_unfinished_one(
    upload, worker, request
):
    video = ended(upload())
    chunk = video.revision.chunks.get()
    unfinished = Revision.objects.create(
        video=video, transcript=video.revision.transcript, chunked_at=timezone.now()
    )
    assert not unfinished.chunks.exists()

    event = events.send(
        "video/embed.requested",
        {"video_id": video.pk, "creator_id": video.creator_id, "chunk_ids": [chunk.pk]},
    )

    assert event.runs.get().revision_id == video.revision_id
    eventually(lambda: event.runs.get().finished_at)
    assert ended(video).status == "completed"


# What a useless answer costs


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"total_tokens": 7}},
            "misconfigured",
        ),
        ({"data": "nonsense", "usage": {"total_tokens": 7}}, "bad_response"),
        ({"data": [], "usage": {"total_tokens": 7}}, "bad_response"),
    ],
)
def test_an_embedding_that_is_of_no_use_was_paid(upload, worker, openai, body, code):
    openai.faults.append(Fault(status=200, path="embeddings", body=body, times=9))

    video = ended(upload())

    assert video.status == "failed"
    assert video.error_code == code
    booked = Call.objects.filter(service="embedding")
    assert {(call.state, call.used, call.tokens) for call in booked} == {("answered", False, 7)}
    assert all(call.cost_usd > 0 and call.error for call in booked)


# Long vectors


LONG = Space("text-embedding-3-small", 1536)


@pytest.fixture
def passages(creator):
    """A video whose passages have long vectors, those of one of them whole, as once all were."""
    video = spoken_video(creator, [f"This is what is said in line {n}." * 3 for n in range(40)])
    chunk = video.revision.chunks.get()
    random = np.random.default_rng(7)
    vectors = {
        place.first_segment: HalfVector(random.standard_normal(LONG.dimensions))
        for place in Passage.objects.filter(chunk=chunk)
    }
    rows = [
        VectorRow(
            chunk.pk, index, f"{index:064}", LONG.shortened(vector, index) if index else vector
        )
        for index, vector in vectors.items()
    ]
    replace([chunk.pk], LONG, encode(rows, LONG))
    ServingModel.objects.update(model=LONG.model, dimensions=LONG.dimensions)
    return vectors


def nearest(vector, *, of_few=True):
    asked = Asked(vector, ServingModel.objects.get())
    within = replaced(scope(Video.objects.all()), is_few=of_few)
    return by_vector(asked, within, 3).places[0].first_segment


def test_passages_keep_the_first_numbers_of_a_long_vector(passages):
    rows = Embedding.objects.filter(model=LONG.model, dimensions=LONG.dimensions)
    lengths = {row.segment_index: len(row.vector) for row in rows}

    assert lengths.pop(0) == 1536
    assert set(lengths.values()) == {512}
    assert [nearest(vector) for vector in passages.values()] == list(passages)


@pytest.mark.usefixtures("without_indexes")
def test_an_index_of_signs_finds_what_is_then_compared_in_full(passages):
    call_command("index_embeddings", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    try:
        with CaptureQueriesContext(connection) as queries:
            found = [nearest(vector, of_few=False) for vector in passages.values()]
        asked = next(each["sql"] for each in queries if "binary_quantize" in each["sql"])
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {asked}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")

    assert found == list(passages)
    assert f"Index Scan using {ServingModel.objects.get().index_name}" in plan
    assert "embedding_bits_512_" in plan


@pytest.mark.usefixtures("without_indexes")
def test_a_new_way_of_comparing_leaves_no_old_index(passages):
    serving = ServingModel.objects.get()
    digest = serving.index_name.rsplit("_", 1)[1]
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE INDEX embedding_hnsw_1536_{digest} ON videos_embedding (model) "
            f"WHERE model = '{LONG.model}'"
        )

    call_command("index_embeddings", verbosity=0)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE indexname LIKE %s", [f"embedding%{digest}"]
        )
        assert cursor.fetchall() == [(serving.index_name,)]


@pytest.mark.usefixtures("without_indexes")
def test_an_index_with_another_graph_is_built_anew(passages):
    serving = ServingModel.objects.get()
    call_command("index_embeddings", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid, reloptions, pg_get_indexdef(oid) FROM pg_class WHERE relname = %s",
            [serving.index_name],
        )
        first, options, definition = cursor.fetchone()
        call_command("index_embeddings", verbosity=0)
        cursor.execute("SELECT oid FROM pg_class WHERE relname = %s", [serving.index_name])
        assert cursor.fetchone() == (first,), "nothing has changed"
        cursor.execute(f"DROP INDEX {serving.index_name}")
        cursor.execute(re.sub(r"WITH \(.*?\)", "", definition))

        call_command("index_embeddings", verbosity=0)

        cursor.execute(
            "SELECT relname, reloptions FROM pg_class WHERE starts_with(relname, %s)",
            [serving.index_name],
        )
        assert cursor.fetchall() == [(serving.index_name, options)]


def test_a_whole_vector_is_not_made_of_a_passages(upload, worker, settings):
    """The passage in the middle is embedded with both others: the text of the whole chunk."""
    settings.CHRONOS_EMBEDDING_DIMENSIONS = 1024
    lines = [" ".join(f"{word}{n}" for n in range(25)) for word in ("plant", "stone", "water")]
    cues = "".join(f"00:0{n}.000 --> 00:0{n + 1}.000\n{line}\n\n" for n, line in enumerate(lines))
    vtt = f"WEBVTT\n\n{cues}".encode()

    def lengths(name):
        video = ended(upload(captions=SimpleUploadedFile(name, vtt)))
        rows = Embedding.objects.filter(chunk__revision=video.revision).order_by("segment_index")
        return {row.segment_index: len(row.vector) for row in rows}

    first = lengths("a.vtt")
    Embedding.objects.filter(segment_index=None).update(text_hash="")

    assert first == {0: 512, 1: 512, 2: 512, None: 1024}
    assert lengths("b.vtt") == first
