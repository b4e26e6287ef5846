"""Pages and commands cost the same after years: no whole table is read or sorted."""

import json
import os

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pgvector import HalfVector

from tests.rows import completed_video, spoken_video
from videos import usage
from videos.admin.filters import error_codes
from videos.durable import admission
from videos.durable.sweep import sweep
from videos.management.commands import status
from videos.models import Call, Embedding, Event, Run, ServingModel, Video
from videos.pipeline import retention
from videos.search import search
from videos.search.scope import scope
from videos.search.words import by_words

#: ROWS=1000000 in the environment shows the same after years.
ROWS = int(os.environ.get("ROWS", 60_000))
#: Copies of one row of each table, a minute apart; one of 500 has failed.
COPIES = {
    "videos_event": {"id": "gen_random_uuid()", "created_at": "now() - n * interval '1 minute'"},
    "videos_run": {
        "id": "gen_random_uuid()",
        "created_at": "now() - n * interval '1 minute'",
        "finished_at": "now() - n * interval '1 minute'",
        "video_id": "NULL",
        "event_id": "NULL",
        "state": "CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'completed' END",
        "error_code": "CASE WHEN n % 500 = 0 THEN 'no_audio' ELSE '' END",
    },
    "videos_call": {
        "id": "gen_random_uuid()",
        "sent_at": "now() - n * interval '10 minutes'",
        "state": "CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'answered' END",
        "used": "false",
    },
    "videos_step": {
        "id": "gen_random_uuid()",
        "run_id": "(ARRAY(SELECT id FROM videos_run ORDER BY created_at LIMIT 1000))[1 + n % 1000]",
        "key": "'step ' || n",
    },
    "videos_chunk": {
        "id": "gen_random_uuid()",
        "index": "n + 1000",
    },
    "videos_passage": {
        "id": "nextval(pg_get_serial_sequence('videos_passage', 'id'))",
        "first_segment": "n + 1000",
        "last_segment": "n + 1000",
        "lexemes": "array_to_tsvector(array['said', '=said', 'word' || n, '=word' || n])",
    },
}


def copy_rows(table, changed):
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, table)
        names = ", ".join(f'"{column.name}"' for column in described)
        values = ", ".join(changed.get(column.name, f't."{column.name}"') for column in described)
        rows = (
            f"SELECT {values} FROM (SELECT * FROM {table} LIMIT 1) t, generate_series(1, {ROWS}) n"
        )
        cursor.execute(f"INSERT INTO {table} ({names}) {rows}")
        cursor.execute(f"VACUUM ANALYZE {table}")


@pytest.fixture(scope="module")
def history(django_db_setup, django_db_blocker):
    """Tens of thousands of rows in every table that only grows."""
    from django.contrib.auth import get_user_model

    with django_db_blocker.unblock():
        ada = get_user_model().objects.create_superuser("ada-of-old", password="p")
        try:
            completed_video(ada)
            Event.objects.create(name="video/completed", data={}, dispatched_at=timezone.now())
            for table, changed in COPIES.items():
                copy_rows(table, changed)
            yield ada
        finally:
            tables = ", ".join([*COPIES, "videos_video", "videos_worker", "videos_monthlyusage"])
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {tables}, videos_servingmodel CASCADE")
            ada.delete()


class Explained(CaptureQueriesContext):
    """Runs every query of the block again, and tells which of them read many rows."""

    def __init__(self):
        super().__init__(connection)
        self.plans = []

    def __exit__(self, *args):
        super().__exit__(*args)
        for query in self.captured_queries:
            if query["sql"].lstrip().startswith(("SELECT", "WITH", "(SELECT")):
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
                    (plan,) = cursor.fetchone()
                self.plans.append((query["sql"], plan[0]["Plan"]))

    @property
    def whole(self):
        return [f"{sql}\n{plan}" for sql, plan in self.plans if rows_read(plan) > ROWS / 4]


def rows_read(node):
    """Return how many rows of histories a plan has looked at."""
    mine = 0
    if node.get("Relation Name") in COPIES:
        left_out = node.get("Rows Removed by Filter", 0)
        mine = (node["Actual Rows"] + left_out) * node["Actual Loops"]
    return mine + sum(map(rows_read, node.get("Plans", [])))


@pytest.fixture
def operator(history, client, db):
    client.force_login(history)
    return client


LISTS = ["run", "event", "call", "video"]
WANTED = "0193a5c2-0000-7000-8000-000000000000"
ASKED = [
    *[(name, query) for name in LISTS for query in ("", "p=2", f"q={WANTED}", "q=nothing%20such")],
    ("run", "state=failed"),
    ("run", "function=process_video"),
    ("run", "error_code=no_audio"),
    ("run", "error_code=too_long"),
    ("event", "name=video%2Fcompleted"),
    ("call", "state=failed"),
    ("call", "model=whisper-1"),
    ("call", "model=gpt-transcribe"),
]


@pytest.mark.parametrize(("name", "query"), ASKED)
def test_no_list_reads_a_whole_history(operator, name, query):
    url = f"{reverse(f'admin:videos_{name}_changelist')}?{query}"
    operator.get(url)

    with Explained() as explained:
        assert operator.get(url).status_code == 200

    assert explained.whole == []


@pytest.mark.parametrize("page", ["admin:videos_run_overview", "videos:metrics"])
def test_the_control_room_reads_no_history(operator, page):
    with Explained() as explained:
        assert operator.get(reverse(page)).status_code == 200

    assert len(explained.plans) > 5
    assert explained.whole == []


def test_a_sweep_finds_what_is_old_without_reading_what_is_kept(operator):
    with Explained() as explained:
        assert not retention.due().exists()

    assert explained.whole == []


def test_a_list_of_many_says_so(operator):
    page = operator.get(reverse("admin:videos_run_changelist")).content.decode()

    assert "more than 10000 runs" in page


@pytest.mark.parametrize("field", ["pk", "video_id"])
def test_a_run_is_found_by_its_id_and_its_videos(operator, field):
    run = Run.objects.exclude(video=None).first()

    page = operator.get(
        reverse("admin:videos_run_changelist"), {"q": str(getattr(run, field))}
    ).content.decode()

    assert str(run.pk) in page
    assert "1 run" in page


def test_a_failed_run_is_found_by_its_error_and_a_call_by_its_run(operator):
    run = Run.objects.filter(state="failed").first()
    Run.objects.filter(pk=run.pk).update(error="the fox <b>ran</b>")
    call = Call.objects.exclude(run_id=None).first()

    runs = operator.get(reverse("admin:videos_run_changelist"), {"q": "fox"}).content.decode()
    calls = operator.get(
        reverse("admin:videos_call_changelist"), {"q": str(call.run_id)}
    ).content.decode()

    assert str(run.pk) in runs
    assert str(call.pk) in calls


@pytest.mark.parametrize("command", [["status"], ["runs"], ["usage"]])
def test_no_command_reads_a_whole_history(history, db, command, capsys, monkeypatch):
    monkeypatch.setattr(usage, "_WORTH_KEEPING", 1_000)
    monkeypatch.setattr(status, "_MAX_COUNTED", 5_000)
    call_command(*command, as_json=True)

    with Explained() as explained:
        call_command(*command, as_json=True)

    assert explained.whole == []
    assert json.loads(capsys.readouterr().out.splitlines()[-1] or "{}") is not None


@pytest.mark.parametrize("counted", [5_000, 100_000])
def test_status_counts_a_history(history, db, capsys, monkeypatch, counted):
    """A long one by what Postgres estimates, which is right after an ANALYZE."""
    monkeypatch.setattr(status, "_MAX_COUNTED", counted)

    call_command("status", as_json=True)

    runs = json.loads(capsys.readouterr().out)["runs"]

    assert runs["failed"] == ROWS // 500
    assert runs["completed"] == pytest.approx(ROWS - ROWS // 500 + 1, abs=5)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "ask",
    [
        sweep,
        admission.admit,
        lambda: search("word2000", Video.objects.all(), mode="text"),
        lambda: search("what is said of word2000", Video.objects.all(), mode="text"),
        lambda: search("said", Video.objects.all(), mode="text"),
    ],
)
def test_nothing_that_is_done_all_the_time_reads_a_whole_history(history, ask):
    Run.objects.bulk_create(
        Run(function="tests.letters.greet", stage="run", created_at=timezone.now())
        for _ in range(3)
    )

    with Explained() as explained:
        ask()

    assert explained.whole == []


@pytest.mark.django_db
def test_a_site_wide_search_finds_a_word_among_all(history):
    found = by_words(["word2000"], scope(Video.objects.all()))

    assert [place.first_segment for place in found.passages.values()] == [3000]


def test_the_codes_of_errors_are_known():
    assert {"no_audio", "internal", "worker_lost", "bad_response"} <= error_codes()


# Vectors


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_a_filtered_vector_search_finds_what_its_index_gives_up_on(creator, django_user_model):
    """pgvector stops after `hnsw.max_scan_tuples`, none of which need be of the creator."""
    bob = django_user_model.objects.create_user("bob")
    mine = spoken_video(creator, ["Something about apples."])
    other = spoken_video(bob, ["Something about pears."])
    chunk = other.revision.chunks.get()
    wanted = Embedding.objects.filter(chunk__revision=mine.revision, segment_index=None).get()
    near = HalfVector(wanted.vector)
    Embedding.objects.bulk_create(
        Embedding(chunk=chunk, segment_index=n, model=wanted.model, dimensions=32, vector=near)
        for n in range(9, 3_000)
    )
    # Nearer to the query than what is wanted, all of them.
    Embedding.objects.filter(pk=wanted.pk).update(vector=HalfVector([-1.0] + [0.0] * 31))
    call_command("index_embeddings", verbosity=0)
    assert ServingModel.objects.get()

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE videos_embedding")
        cursor.execute("SET hnsw.max_scan_tuples = 100")
        cursor.execute(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
        )
    try:
        hits = search("apples", Video.objects.filter(creator=creator), mode="vector")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")

    assert [hit.video for hit in hits] == [mine]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_a_search_leaves_its_callers_transaction_as_it_was(creator):
    completed_video(creator)
    call_command("index_embeddings", verbosity=0)

    with transaction.atomic(), connection.cursor() as cursor:
        assert search("sentence", Video.objects.filter(creator=creator), mode="vector")

        cursor.execute("SELECT current_setting('enable_indexscan')")
        assert cursor.fetchone() == ("on",)


# Selecting all


@pytest.mark.django_db(transaction=True)
def test_all_that_match_can_be_reprocessed_however_many(admin_client, admin_user, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 50
    Video.objects.bulk_create(
        Video(creator=admin_user, file="videos/none.mp4", title=f"t{n}", status="failed")
        for n in range(120)
    )
    Video.objects.bulk_create([Video(creator=admin_user, file="videos/x.mp4", status="completed")])
    url = reverse("admin:videos_video_changelist") + "?status__exact=failed"
    one = Video.objects.filter(status="failed").first().pk
    asked = {"action": "reprocess", "select_across": "1", "_selected_action": [str(one)]}

    page = admin_client.post(url, asked).content.decode()
    assert page.count('type="hidden"') < 10
    assert "120 videos selected" in page
    assert 'name="select_across" value="1"' in page
    done = admin_client.post(url, asked | {"stage": "transcribe"}, follow=True)

    assert "120 videos: reprocess from transcribe" in done.content.decode()
    assert len(Event.objects.get(name="videos/steer.requested").data["video_ids"]) == 120


@pytest.mark.django_db(transaction=True)
def test_many_that_are_steered_together_are_admitted_once(creator):
    videos = [completed_video(creator) for _ in range(5)]

    with CaptureQueriesContext(connection) as asked, admission.admitting_once():
        for video in videos:
            video.reprocess(from_stage="chunk")

    admitting = [query for query in asked if "pg_advisory_xact_lock" in query["sql"]]
    assert len(admitting) == 1
    assert Run.objects.filter(function="rechunk_video").count() == 5
