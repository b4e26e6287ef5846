"""What must hold after every round, whatever was done to the workers in it."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import Q

from tests.chaos.service import Service
from videos.models import ACTIVE_STATES, Call, Embedding, Run, Step, Video, Worker

#: What an undisturbed round made of each file.
EXPECTED: dict[str, str] = {}
#: A service's answer, or its absence, that the ledger cannot know more of than "unknown".
_UNKNOWABLE = ("hang", "cut off")


def unfinished(videos: dict[str, Video]) -> list[str]:
    """Return the videos that did not complete, and why."""
    problems = []
    for name, video in videos.items():
        video.refresh_from_db()
        if video.status != "completed":
            run = video.runs.order_by("-created_at").first()
            problems.append(
                f"{name} is {video.status} ({video.error_code} {video.error}); its run: "
                f"{run and (run.state, run.stage, run.waiting_reason, run.deaths, run.error)}"
            )
    return problems


def _folders(what: str = "") -> set[str]:
    return set(glob.glob(f"{tempfile.gettempdir()}/chronos-{what}*"))


def _folders_of_workers() -> set[str]:
    """Return those that workers hold for as long as they live."""
    alive = Worker.objects.filter(threads__gt=0).values_list("pk", flat=True)
    return {folder for worker_id in alive for folder in _folders(f"work-{worker_id}.")}


def left_over(videos: dict[str, Video]) -> list[str]:
    """Return runs, slots, leases, open calls, temporary files and processes that should be gone."""
    ids = [video.pk for video in videos.values()]
    runs = Run.objects.filter(video__in=ids)
    counts = {
        "active runs": runs.filter(state__in=ACTIVE_STATES).count(),
        "slots": runs.filter(holds_slot=True).count(),
        "leases": runs.filter(lease_until__isnull=False).count(),
        "open calls": Call.objects.filter(video_id__in=ids, state="sent").count(),
        "temporary folders": len(_folders() - _folders_of_workers()),
        "ffmpegs": len(_ffmpegs()),
        "files": sum(abs(len(_files(video)) - _files_expected(video)) for video in videos.values()),
    }
    return [f"{count} {what} left over" for what, count in counts.items() if count]


def results(videos: dict[str, Video]) -> list[str]:
    """Compare transcripts, chunks and vectors with those of an undisturbed run."""
    problems = []
    for name, video in videos.items():
        made = _fingerprint(video)
        if EXPECTED.setdefault(name, made) != made:
            problems.append(f"{name} differs from the undisturbed run")
    return problems


def ledger(videos: dict[str, Video], service: Service, disturbed_at: list[float]) -> list[str]:
    """Compare the ledger with the calls that the service counted."""
    ids = [video.pk for video in videos.values()]
    rows = {str(call.pk): call for call in Call.objects.filter(video_id__in=ids)}
    problems = [
        f"the service was called {count} times with the ledger's row {call_id}"
        for call_id, count in Counter(call.id for call in service.calls).items()
        if count > 1 or call_id not in rows
    ]
    asked = {call.id: call.status for call in service.calls}
    by_step: dict[Any, list[Call]] = defaultdict(list)
    # Of two hearings of a part the better one is used.
    heard_again = Step.objects.filter(run__video__in=ids, key__endswith=" again")
    again = set(heard_again.values_list("pk", flat=True))
    for call_id, row in rows.items():
        by_step[row.step_id].append(row)
        is_wasted = row.state == "answered" and not row.used and row.step_id not in again
        if is_wasted and not _is_excused(row, service, disturbed_at):
            problems.append("an answer was paid for and not used, without a reason")
        if row.state == "answered" and asked.get(call_id) != 200:
            problems.append(f"a row is answered, the service says {asked.get(call_id)}")
        if row.state == "failed" and asked.get(call_id) != row.http_status:
            problems.append(f"a row failed with {row.http_status}, not {asked.get(call_id)}")
        if row.state == "unknown" and not _is_excused(row, service, disturbed_at):
            problems.append(f"a row is unknown without a reason: {row.error}")
    for step_id, calls in by_step.items():
        problems += _paid_twice(step_id, calls)
    return problems


def _is_excused(row: Call, service: Service, disturbed_at: list[float]) -> bool:
    """Whether the call was in flight when something was killed, stopped or hung."""
    if service.injected.get(str(row.pk)) in _UNKNOWABLE:
        return True
    assert row.settled_at is not None
    return any(
        row.sent_at.timestamp() - 1 <= at <= row.settled_at.timestamp() for at in disturbed_at
    )


def _paid_twice(step_id: Any, calls: list[Call]) -> list[str]:
    answered = [call for call in calls if call.state == "answered"]
    used = [call for call in answered if call.used]
    excused = [call for call in calls if call.state in ("failed", "unknown")]
    unused = [call for call in answered if not call.used]
    problems = []
    if len(used) > 1:
        problems.append(f"step {step_id} uses {len(used)} answers")
    if len(calls) > 1 + len(excused) + len(unused):
        problems.append(f"step {step_id} was called {len(calls)} times without need")
    failed = [call for call in calls if call.state == "failed" and call.http_status != 429]
    retries = 3 if calls[0].service == "transcription" else 2
    if len(failed) > retries:
        problems.append(f"step {step_id} failed {len(failed)} times, {retries} retries are allowed")
    return problems


def recoveries(fired: list[dict[str, Any]], claims_log: Path) -> list[tuple[float, str, float]]:
    """Return the seconds from the last kill until a run was claimed again that a worker held.

    With each go the boundary of that kill, and the seconds from the kill of the worker that held
    the run: one that takes a run over and is killed before it says so begins the wait anew.
    """
    claims = [json.loads(line) for line in claims_log.read_text().splitlines()]
    found = []
    for kill in fired:
        held = kill.get("held") or _held_by(kill, claims)
        for run_id, token in held:
            again = [at for at, run, other, _ in claims if run == run_id and other > token]
            later = [at for at in again if at > kill["at"]]
            if later:
                resumed = min(later)
                killed = [other for other in fired if other["at"] < resumed]
                last = max(killed, key=lambda other: other["at"])
                since_last, since_first = resumed - last["at"], resumed - kill["at"]
                found.append((round(since_last, 2), last["name"], round(since_first, 2)))
    return found


def _held_by(kill: dict[str, Any], claims: list[Any]) -> list[list[Any]]:
    """Return the last claims of a process that was killed from outside, unless the run ended."""
    if "pid" not in kill:
        return []
    latest: dict[str, int] = {}
    for at, run_id, token, pid in claims:
        if at < kill["at"]:
            latest[run_id] = (token, pid)  # type: ignore[assignment]
    mine = [(run, token) for run, (token, pid) in latest.items() if pid == kill["pid"]]  # type: ignore[misc]
    still = Run.objects.filter(pk__in=[run for run, _ in mine]).exclude(
        Q(finished_at__isnull=False) & Q(token__in=[token for _, token in mine])
    )
    alive = {str(run_id) for run_id in still.values_list("pk", flat=True)}
    return [[run, token] for run, token in mine if run in alive]


def _committed_at(run: Run) -> float:
    """Return when the last change of a run was committed, in seconds of the epoch."""
    query = "SELECT pg_xact_commit_timestamp(xmin) FROM videos_run WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.execute(query, [run.pk])
        (committed_at,) = cursor.fetchone()
    return committed_at.timestamp()


def handovers(
    videos: dict[str, Video], fired: list[dict[str, Any]], claims_log: Path
) -> list[float]:
    """Return the milliseconds from the commit of a run's end to the creator's next first claim.

    One in which a worker was killed is a recovery, and left out.
    """
    first_claims: dict[str, float] = {}
    for line in claims_log.read_text().splitlines():
        at, run_id, _, _ = json.loads(line)
        first_claims.setdefault(run_id, at)
    gaps = []
    for pair in (("lecture", "again"), ("clip", "talk")):
        if pair[0] not in videos:
            continue
        runs = [videos[name].runs.order_by("created_at").first() for name in pair]
        ended = sorted(_committed_at(run) for run in runs if run and run.finished_at)
        begun = sorted(first_claims.get(str(run.pk), 0.0) for run in runs if run)
        if len(ended) < 2 or begun[1] <= ended[0]:
            continue
        if not any(ended[0] - 0.1 <= kill["at"] <= begun[1] for kill in fired):
            gaps.append(round((begun[1] - ended[0]) * 1000, 1))
    return gaps


def deleted(videos: dict[str, Video]) -> list[str]:
    """Delete the round's videos; return what stayed behind that should not."""
    ids = [video.pk for video in videos.values()]
    creators = {video.creator for video in videos.values()}
    booked = Call.objects.filter(video_id__in=ids).count()
    problems = []
    for video in videos.values():
        video.delete()
        if _files(video):
            problems.append(f"deleting left {len(_files(video))} files")
    if Call.objects.filter(video_id__in=ids).count() != booked:
        problems.append("deleting changed the ledger")
    for creator in creators:
        creator.delete()
    return problems


def _fingerprint(video: Video) -> str:
    assert video.revision is not None and video.revision.transcript is not None
    digest = hashlib.sha256()
    for segment in video.revision.transcript.segments.all():
        digest.update(f"{segment.start} {segment.end} {segment.text}\n".encode())
    for chunk in video.revision.chunks.all():
        digest.update(f"{chunk.start} {chunk.end} {chunk.content_hash}\n".encode())
    rows = Embedding.objects.filter(chunk__revision=video.revision).order_by(
        "chunk__index", "segment_index"
    )
    for segment_index, vector in rows.values_list("segment_index", "vector"):
        digest.update(f"{segment_index} {list(vector)}\n".encode())
    done = Step.objects.filter(run__revision=video.revision, state="done").count()
    digest.update(f"{done > 0} {video.coverage} {video.duration_s}".encode())
    return digest.hexdigest()


def _files(video: Video) -> list[str]:
    folder = Path(video.file.storage.path(video.folder))
    return os.listdir(folder) if folder.exists() else []


def _files_expected(video: Video) -> int:
    """The source, and the audio unless the transcript was copied."""
    assert video.revision is not None and video.revision.transcript is not None
    return 1 + bool(video.revision.transcript.audio)


def _ffmpegs() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if (
                b"ffmpeg" in command.split(b"\0")[0]
                and os.environ["CHAOS_FOLDER"].encode() in (entry / "environ").read_bytes()
            ):
                found.append(entry.name)
        except OSError:
            continue
    return found
