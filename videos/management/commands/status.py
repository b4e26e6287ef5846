"""`status`: videos, queues, runs and workers at a glance."""

from __future__ import annotations

from typing import Any

import dramatiq
from django.core.management.base import CommandParser
from django.db.models import Count

from videos.documents import video_document
from videos.durable.capacity import Capacity, live_workers
from videos.management.reporting import (
    ReportingCommand,
    all_videos,
    count,
    estimated_rows,
    find_videos,
    waits,
)
from videos.models import Breaker, Run, SetAside, StorageDeletion

_MAX_SET_ASIDE = 100
_MAX_COUNTED = 100_000


class Command(ReportingCommand):
    """Shows the newest videos, or those that are named."""

    help = "Show videos with their progress, and how busy the workers are."
    examples = ("", "0193a5c2-… --json", "--limit 0 --json")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("videos", nargs="*", metavar="VIDEO")
        parser.add_argument("--limit", type=count, default=50, help="Newest first; 0: all.")

    def perform(self, **options: Any) -> Any:
        if options["videos"]:
            videos = find_videos(options["videos"])
        else:
            newest = all_videos().order_by("-created_at", "-pk")
            videos = list(newest[: options["limit"]] if options["limit"] else newest)
        return {
            "videos": [video_document(video) for video in videos],
            "queues": _queue_depths(),
            "runs": _runs_by_state(),
            "breakers": [
                {
                    "service": breaker.service,
                    "failures": breaker.failures,
                    "open_until": breaker.open_until.isoformat() if breaker.open_until else None,
                    "last_error": breaker.last_error,
                }
                for breaker in Breaker.objects.filter(failures__gt=0)
            ],
            "unserved": _unserved(),
            "set_aside": [
                {
                    "kind": row.kind,
                    "id": str(row.item_id),
                    "function": row.function or None,
                    "attempts": row.attempts,
                    "next_attempt_at": row.next_attempt_at.isoformat(),
                    "error": row.error,
                }
                for row in SetAside.objects.order_by("since")[:_MAX_SET_ASIDE]
            ],
            "deletions": StorageDeletion.objects.count(),
            "workers": [
                {
                    "id": str(worker.pk),
                    "pid": worker.pid,
                    "host": worker.host,
                    "queues": worker.queues,
                    "threads": worker.threads,
                    "stuck_threads": worker.stuck_threads,
                    "draining": worker.drain_requested,
                    "last_seen": worker.last_seen.isoformat(),
                }
                for worker in live_workers().order_by("started_at")
            ],
        }

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            waiting = video["waiting_for"]
            note = video["error"] or (waits(waiting) if waiting else "")
            self.stdout.write(
                f"{video['id']}  {video['status']:<12} {video['progress']:>4.0%}  "
                f"{video['creator']:<12}  {video['title']}  {note}".rstrip()
            )
            # Of a list, how many there are; of videos that were named, all that is known.
            self.show_warnings(video, limit=10 if options["videos"] else 1)
        runs = ", ".join(f"{count} {state}" for state, count in document["runs"].items())
        self.stdout.write(f"runs: {runs or 'none'}; workers: {len(document['workers'])}")
        for breaker in document["breakers"]:
            until = breaker["open_until"]
            self.stdout.write(
                f"{breaker['service']}: {breaker['failures']} failures in a row"
                f"{f', no calls until {until}' if until else ''}; last: {breaker['last_error']}"
            )

        for queue, waiting in document["unserved"].items():
            self.stdout.write(f"queue {queue}: no live worker serves it, {waiting} run(s) wait")
        for row in document["set_aside"]:
            of = f" of {row['function']}" if row["function"] else ""
            self.stdout.write(
                f"{row['kind']} {row['id']}{of}: set aside after {row['attempts']} attempt(s), "
                f"tried again at {row['next_attempt_at']}; last: {row['error']}"
            )
        if document["deletions"]:
            self.stdout.write(f"{document['deletions']} file(s) or folder(s) still to be deleted")


def _runs_by_state() -> dict[str, int]:
    """Count runs; of a long history, what Postgres estimates of it counts as completed."""
    others = Run.objects.exclude(state=Run.State.COMPLETED).order_by().values("state")
    counts = {row["state"]: row["count"] for row in others.annotate(count=Count("id"))}
    completed = Run.objects.filter(state=Run.State.COMPLETED)[: _MAX_COUNTED + 1].count()
    if completed > _MAX_COUNTED:
        completed = max(estimated_rows(Run) - sum(counts.values()), completed)
    return counts | ({Run.State.COMPLETED.value: completed} if completed else {})


def _unserved() -> dict[str, int]:
    """Return the queues with runs that no live worker serves, and how many wait there."""
    capacity = Capacity()
    if not capacity.has_workers:
        return {}
    waiting = Run.objects.filter(state=Run.State.WAITING, waiting_reason=Run.Waiting.WORKER)
    rows = capacity.unserved(waiting).values("queue").annotate(count=Count("id"))
    return {row["queue"]: row["count"] for row in rows.order_by("queue")}


def _queue_depths() -> dict[str, int]:
    """Return the runs in each queue that a worker has not taken yet, from Postgres."""
    depths = dict.fromkeys(sorted(dramatiq.get_broker().get_declared_queues()), 0)
    queued = Run.objects.filter(state=Run.State.QUEUED).values("queue").annotate(depth=Count("id"))
    return depths | {row["queue"]: row["depth"] for row in queued}
