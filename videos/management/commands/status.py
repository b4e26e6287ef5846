"""`status`: videos, queues, runs and workers at a glance."""

from __future__ import annotations

from typing import Any

import dramatiq
from django.core.management.base import CommandParser
from django.db.models import Count

from videos.documents import video_document
from videos.management.reporting import ReportingCommand, all_videos, count, find_videos
from videos.models import Breaker, Run, Worker


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
        states = Run.objects.values("state").annotate(count=Count("id"))
        return {
            "videos": [video_document(video) for video in videos],
            "queues": _queue_depths(),
            "runs": {row["state"]: row["count"] for row in states},
            "breakers": [
                {
                    "service": breaker.service,
                    "failures": breaker.failures,
                    "open_until": breaker.open_until.isoformat() if breaker.open_until else None,
                    "last_error": breaker.last_error,
                }
                for breaker in Breaker.objects.filter(failures__gt=0)
            ],
            "workers": [
                {
                    "pid": worker.pid,
                    "host": worker.host,
                    "queues": worker.queues,
                    "last_seen": worker.last_seen.isoformat(),
                }
                for worker in Worker.objects.order_by("started_at")
            ],
        }

    def show(self, document: Any, **options: Any) -> None:
        for video in document["videos"]:
            waiting = video["waiting_for"]
            note = video["error"] or (f"waits for {waiting['reason']}" if waiting else "")
            self.stdout.write(
                f"{video['id']}  {video['status']:<12} {video['progress']:>4.0%}  "
                f"{video['creator']:<12}  {video['title']}  {note}".rstrip()
            )
        runs = ", ".join(f"{count} {state}" for state, count in document["runs"].items())
        self.stdout.write(f"runs: {runs or 'none'}; workers: {len(document['workers'])}")
        for breaker in document["breakers"]:
            until = breaker["open_until"]
            self.stdout.write(
                f"{breaker['service']}: {breaker['failures']} failures in a row"
                f"{f', no calls until {until}' if until else ''}; last: {breaker['last_error']}"
            )


def _queue_depths() -> dict[str, int]:
    """Return the runs in each queue that a worker has not taken yet, from Postgres."""
    depths = dict.fromkeys(sorted(dramatiq.get_broker().get_declared_queues()), 0)
    queued = Run.objects.filter(state=Run.State.QUEUED).values("queue").annotate(depth=Count("id"))
    return depths | {row["queue"]: row["depth"] for row in queued}
