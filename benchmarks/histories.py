"""What pages, commands and the sweep take after years: a million runs with ten million steps.

    .venv/bin/python benchmarks/histories.py [RUNS]

Beside RUNS runs there are ten times as many steps, as many calls and events, and a tenth as many
videos, of a hundred creators; of the runs one of 500 has failed, a thousand wait, and one ended
each half minute. Each figure is the median of five, after one that is not counted.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.services import is_child, run_again  # noqa: E402

CREATORS, REPEATS, WAITING = 100, 5, 1_000
STEPS_PER_RUN, RUNS_PER_VIDEO = 10, 10

FILL = """
    INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name,
        last_name, email, date_joined)
    SELECT 'creator' || n, '', false, false, true, '', '', '', now()
    FROM generate_series(1, {creators}) AS n;

    INSERT INTO videos_video (id, creator_id, title, file, original_filename, size_bytes, status,
        stage, language, detected_language, captions, progress, duration_s, warnings, error,
        error_code, created_at)
    SELECT gen_random_uuid(), (SELECT min(id) FROM auth_user WHERE username LIKE 'creator%')
            + n % {creators},
        'Talk ' || n, 'videos/none.mp4', 'none.mp4', 1, 'completed', 'finish', '', 'en', '', 1, 60,
        '[]', '', '', now() - n * interval '5 minutes'
    FROM generate_series(1, {runs} / {runs_per_video}) AS n;

    CREATE TEMPORARY TABLE numbered AS
    SELECT row_number() OVER () - 1 AS place, id, creator_id FROM videos_video;
    CREATE UNIQUE INDEX ON numbered (place);

    INSERT INTO videos_event (id, name, data, video_id, created_at, dispatched_at)
    SELECT gen_random_uuid(), 'video/transcribe.requested', '{{}}'::jsonb, v.id,
        now() - n * interval '30 seconds', now()
    FROM generate_series(1, {runs}) AS n JOIN numbered AS v ON v.place = n
    UNION ALL
    SELECT gen_random_uuid(), 'video/completed', '{{}}'::jsonb, NULL,
        now() - n * interval '30 seconds', now()
    FROM generate_series({runs} / {runs_per_video}, {runs}) AS n;

    INSERT INTO videos_run (id, function, queue, priority, data, state, stage, waiting_reason,
        waits_behind, attempt, deaths, token, cancel_requested, holds_slot, requeues, error,
        error_code, created_at, started_at, finished_at, video_id, creator_id)
    SELECT gen_random_uuid(), 'process_video', 'default', 0, '{{}}'::jsonb,
        CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'completed' END, 'finish', '', '', 1, 0, 1, false,
        false, 0, CASE WHEN n % 500 = 0 THEN 'There is no audio.' ELSE '' END,
        CASE WHEN n % 500 = 0 THEN 'no_audio' ELSE '' END,
        now() - n * interval '30 seconds', now() - n * interval '30 seconds',
        now() - n * interval '30 seconds' + interval '20 seconds', v.id, v.creator_id
    FROM generate_series(1, {runs}) AS n
        JOIN numbered AS v ON v.place = n % ({runs} / {runs_per_video});

    INSERT INTO videos_step (id, run_id, stage, key, state, attempts, failures, error, started_at,
        finished_at)
    SELECT gen_random_uuid(), run.id, 'transcribe', n || ' ms', 'done', 1, 0, '', run.started_at,
        run.finished_at
    FROM videos_run AS run, generate_series(1, {steps_per_run}) AS n;

    INSERT INTO videos_call (id, creator_id, creator_name, video_id, run_id, service, model, state,
        used, audio_seconds, tokens, reserved_tokens, cost_usd, error, sent_at, settled_at)
    SELECT gen_random_uuid(), creator_id, 'creator', video_id, id, 'transcription', 'whisper-1',
        'answered', false, 60, 0, 1000, 0.006, '', started_at, finished_at
    FROM videos_run;

    INSERT INTO videos_run (id, function, queue, priority, data, state, stage, waiting_reason,
        waits_behind, attempt, deaths, token, cancel_requested, holds_slot, requeues, error,
        error_code, created_at, creator_id)
    SELECT gen_random_uuid(), 'make_chapters', 'default', 0, '{{}}'::jsonb, 'waiting', 'run',
        'capacity', '', 0, 0, 0, false, false, 0, '', '', now() - n * interval '1 second',
        (SELECT min(id) FROM auth_user WHERE username LIKE 'creator%') + n % {creators}
    FROM generate_series(1, {waiting}) AS n;

    INSERT INTO videos_budget (creator_id, month_usd, counted_usd)
    SELECT id, 1000000, 0 FROM auth_user WHERE username LIKE 'creator%';
    INSERT INTO videos_budget (creator_id, month_usd, counted_usd) VALUES (NULL, 1000000, 0);
    """


def main() -> None:
    """Fill a database, and print what is asked of it takes."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if not is_child():
        run_again()
        return
    import django

    django.setup()
    begun = time.monotonic()
    fill(runs)
    print(f"\n{runs:,} runs, {runs * STEPS_PER_RUN:,} steps: {time.monotonic() - begun:.0f} s\n")
    print("| what | median, ms | longest, ms | queries |\n|---|---|---|---|")
    for name, ask in asked().items():
        measure(name, ask)


def fill(runs: int) -> None:
    """Make the histories, a worker that lives, and an operator."""
    from django.contrib.auth import get_user_model
    from django.db import connection

    get_user_model().objects.create_superuser("operator", password="operator")
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        for statement in FILL.format(
            runs=runs,
            creators=CREATORS,
            waiting=WAITING,
            steps_per_run=STEPS_PER_RUN,
            runs_per_video=RUNS_PER_VIDEO,
        ).split(";"):
            if statement.strip():
                cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE")


def asked() -> dict[str, Callable[[], object]]:
    """Return what is asked, by what people call it."""
    from django.contrib.auth import get_user_model
    from django.core.cache import cache
    from django.core.management import call_command
    from django.test import Client
    from django.urls import reverse

    from videos.durable import admission, sweep
    from videos.models import Run, Video
    from videos.usage import summary

    users = get_user_model()
    operator, creator = Client(SERVER_NAME="localhost"), Client(SERVER_NAME="localhost")
    operator.force_login(users.objects.get(username="operator"))
    creator.force_login(users.objects.get(username="creator1"))
    run = Run.objects.filter(state="failed").latest("created_at")
    video = Video.objects.latest("created_at")

    def page(client: Client, name: str, *args: object, query: str = "") -> Callable[[], object]:
        def get() -> None:
            answer = client.get(reverse(name, args=args) + query)
            assert answer.status_code == 200, answer.status_code

        return get

    room = page(operator, "admin:index")

    def status() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            call_command("status", "--json")

    return {
        "the control room": room,
        "the same, once a minute, when it sums up the month": lambda: (cache.clear(), room()),
        "runs": page(operator, "admin:videos_run_changelist"),
        "failed runs": page(operator, "admin:videos_run_changelist", query="?state__exact=failed"),
        "a run": page(operator, "admin:videos_run_change", run.pk),
        "events": page(operator, "admin:videos_event_changelist"),
        "calls": page(operator, "admin:videos_call_changelist"),
        "videos": page(operator, "admin:videos_video_changelist"),
        "a video": page(operator, "admin:videos_video_change", video.pk),
        "a creator's library of a hundredth of the videos": page(creator, "videos:library"),
        "`status`": status,
        "`/metrics`": page(operator, "videos:metrics"),
        "a sweep": sweep.sweep,
        "admission of a thousand that wait": admission.admit,
        "usage of all months": summary,
        "usage of a creator": lambda: summary(users.objects.get(username="creator1")),
    }


def measure(name: str, ask: Callable[[], object]) -> None:
    """Print a row of the table."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    ask()
    took_ms = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        ask()
        took_ms.append(1000 * (time.perf_counter() - begun))
    with CaptureQueriesContext(connection) as captured:
        ask()
    print(
        f"| {name} | {statistics.median(took_ms):.0f} | {max(took_ms):.0f} | {len(captured)} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
