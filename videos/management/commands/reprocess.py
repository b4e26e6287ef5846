"""`reprocess`: process videos again, from a stage or from where they failed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from videos.durable import admission
from videos.management.reporting import (
    Failed,
    ReportingCommand,
    WrongUsage,
    all_videos,
    count,
    find_creator,
    find_videos,
    operator,
)
from videos.management.waiting import OwnWorker, wait_for_runs
from videos.models import Run, Video
from videos.pipeline import bulk, steering
from videos.pipeline.estimate import estimate

#: Videos that are started by one set of statements.
_AT_ONCE = 250


class Command(ReportingCommand):
    """Selects videos, and sends the event that processes each again."""

    help = (
        "Process videos again. Without --from, failed and cancelled ones resume at their first "
        "unfinished step."
    )
    examples = (
        "0193a5c2-…",
        "--status failed --wait",
        "--error-code service_unavailable",
        "--all --from embed --dry-run --json",
        "--all --from embed --bulk --per-minute 60",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("videos", nargs="*", metavar="VIDEO")
        parser.add_argument("--from", dest="from_stage", choices=steering.restartable_stages())
        parser.add_argument("--status", choices=Video.Status.values)
        parser.add_argument("--error-code", metavar="CODE", help="Only those that failed so.")
        parser.add_argument("--creator", help="Only this creator's videos.")
        parser.add_argument("--all", action="store_true", help="Every video.")
        parser.add_argument("--dry-run", action="store_true", help="Only estimate.")
        parser.add_argument(
            "--force", action="store_true", help="Pay again for content that is known."
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--wait", action="store_true", help="Return when all have ended.")
        how.add_argument(
            "--bulk",
            action="store_true",
            help="Leave them to a run of its own, whose id is printed: it starts them batch by "
            "batch, and can be paused and cancelled.",
        )
        parser.add_argument(
            "--per-minute", type=count, default=0, metavar="N", help="With --bulk: at most so many."
        )

    def perform(self, **options: Any) -> Any:
        videos = self._selected(options)
        if options["per_minute"] and not options["bulk"]:
            raise WrongUsage("--per-minute goes with --bulk.")
        if not videos:
            raise WrongUsage(
                "No video is selected. Without --from, only failed and cancelled ones are."
            )
        stage: str | None = options["from_stage"]
        if stage is None and options["videos"]:
            for video in videos:
                try:
                    steering.resumable_stage(video)
                except ValueError as error:
                    raise WrongUsage(str(error)) from None
        chosen = Video.objects.filter(pk__in=[video.pk for video in videos])
        able = steering.restartable(chosen, stage)
        count = able.count()
        if count < len(videos):
            self.say(f"{len(videos) - count} of them have nothing to {stage}, and are left out.")
        document: dict[str, Any] = {
            "runs": [],
            "videos": count,
            "estimate": asdict(estimate(able, stage, force=options["force"])),
        }
        if options["dry_run"]:
            return document
        if options["bulk"]:
            started = bulk.start(
                [video.pk for video in videos],
                "reprocess",
                from_stage=stage,
                force=options["force"],
                per_minute=options["per_minute"],
                by=operator(),
            )
            document["runs"] = [str(run.pk) for run in started]
            return document
        with OwnWorker(self.say) if options["wait"] else nullcontext() as worker:
            with admission.admitting_once():
                runs = [
                    run
                    for at in range(0, len(videos), _AT_ONCE)
                    for run in self._started(videos[at : at + _AT_ONCE], options)
                ]
            document["runs"] = [str(run.pk) for run in runs]
            if worker is not None:
                wait_for_runs(runs, worker.ensure)
        return document

    def _selected(self, options: dict[str, Any]) -> list[Video]:
        """Return the videos that arguments and filters name; without a stage, resumable ones."""
        if options["videos"]:
            return find_videos(options["videos"])
        if not any(options[name] for name in ("all", "status", "creator", "error_code")):
            raise WrongUsage(
                "Name videos, or select them by --status, --error-code, --creator or --all."
            )
        videos = all_videos()
        if options["status"]:
            videos = videos.filter(status=options["status"])
        if options["error_code"]:
            videos = videos.filter(error_code=options["error_code"])
        if options["creator"]:
            videos = videos.filter(creator=find_creator(options["creator"]))
        if options["from_stage"] is None:
            videos = videos.filter(status__in=[Video.Status.FAILED, Video.Status.CANCELLED])
        return list(videos.order_by("created_at"))

    def _started(self, videos: Sequence[Video], options: dict[str, Any]) -> list[Run]:
        """Start some; of many that a filter selects, those that cannot be started are told."""
        stage, force = options["from_stage"], options["force"]
        # As they are by now: others may have begun some of them.
        fresh = Video.objects.filter(pk__in=[video.pk for video in videos]).order_by("created_at")
        begun, left_out = steering.reprocess_all(list(fresh), stage, force=force)
        if left_out and options["videos"]:
            raise Failed(left_out[0])
        for why in left_out:
            self.say(f"Left out: {why}")
        return begun

    def show(self, document: Any, **options: Any) -> None:
        use = document["estimate"]
        videos = f"{document['videos']} video(s)"
        begun = f"{len(document['runs'])} run(s) started for {videos}"
        said = f"It would process {videos}" if options["dry_run"] else begun
        self.stdout.write(
            f"{said}; at most about {use['audio_seconds']:.0f} s of "
            f"audio, {use['embedding_tokens']} tokens, ${use['cost_usd']:.4f}"
        )

    def conclude(self, document: Any, **options: Any) -> None:
        if not options["wait"]:
            return
        ended = Video.objects.filter(runs__in=document["runs"])
        failed = ended.exclude(status=Video.Status.COMPLETED).first()
        if failed is not None:
            raise Failed(f"{failed}: {failed.error or failed.status}")
