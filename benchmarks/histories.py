"""What pages, commands and the sweep take beside many videos, and after years (B9).

    .venv/bin/python benchmarks/histories.py [VIDEOS …]

Beside VIDEOS videos of a hundred creators there are as many runs, calls and events, and twice as
many steps; of the runs one of 500 has failed, a thousand wait, and one ended each half minute. Each
figure is the median of five, after one that is not counted.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.report import IS_QUICK, Line, publish, seconds  # noqa: E402
from benchmarks.services import beside_services, is_child, run  # noqa: E402

CREATORS, REPEATS, WAITING, STEPS_PER_RUN = 100, 5, 1_000, 2
SIZES = [1_000] if IS_QUICK else [10_000, 100_000, 1_000_000]

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
    FROM generate_series(1, {runs}) AS n;

    CREATE TEMPORARY TABLE numbered AS
    SELECT row_number() OVER () - 1 AS place, id, creator_id FROM videos_video;
    CREATE UNIQUE INDEX ON numbered (place);

    INSERT INTO videos_event (id, name, data, video_id, created_at, dispatched_at)
    SELECT gen_random_uuid(), 'video/transcribe.requested', '{{}}'::jsonb, v.id,
        now() - n * interval '30 seconds', now()
    FROM generate_series(1, {runs}) AS n JOIN numbered AS v ON v.place = n;

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
        JOIN numbered AS v ON v.place = n % {runs};

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
    """Ask everything beside each number of videos, and publish."""
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    if is_child():
        ask_all(int(os.environ["BENCHMARK_VIDEOS"]), Path(os.environ["BENCHMARK_FOUND"]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        found = [ask_beside(size, path) for size in sizes]
    table = [
        f"| median, ms (queries), beside | {' | '.join(f'{size:,} videos' for size in sizes)} |",
        f"|---|{'---|' * len(sizes)}",
    ]
    for name in found[0]:
        cells = (f"{ms:.0f} ({queries})" for ms, queries in (each[name] for each in found))
        table.append(f"| {name} | {' | '.join(cells)} |")
    slowest, name = max((ms, name) for name, (ms, _) in found[-1].items())
    line = Line(
        f"lists, status, sweep, admission, usage beside {sizes[-1]:,} videos, ms",
        f"{slowest:.0f} at most ({name})",
        "",
        "100",
    )
    bars = {f"Chronos, {name}": ms for name, (ms, _) in found[-1].items()}
    publish("B9", [line], table, bars, f"milliseconds, median, beside {sizes[-1]:,} videos")


def ask_beside(videos: int, path: Path) -> dict[str, tuple[float, int]]:
    """Return what each takes beside so many videos, in a database of its own."""
    with beside_services() as environment:
        given = {"BENCHMARK_VIDEOS": str(videos), "BENCHMARK_FOUND": str(path)}
        run(environment | given, *sys.argv)
    found: dict[str, tuple[float, int]] = json.loads(path.read_text())
    return found


def ask_all(videos: int, path: Path) -> None:
    """Write down what each takes."""
    import django

    django.setup()
    begun = time.monotonic()
    fill(videos)
    print(
        f"{videos:,} videos made in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True
    )
    path.write_text(json.dumps({name: measure(ask) for name, ask in asked().items()}))


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


def measure(ask: Callable[[], object]) -> tuple[float, int]:
    """Return the median milliseconds, and how many queries there are."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    took = seconds(ask, REPEATS)
    with CaptureQueriesContext(connection) as captured:
        ask()
    return 1_000 * statistics.median(took), len(captured)


if __name__ == "__main__":
    main()
