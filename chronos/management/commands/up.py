"""`up`: Chronos on one machine, from nothing to a search's answer."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files import File
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from chronos.embedded.folders import private_folder
from videos.documents import serving_segments
from videos.durable.capacity import live_slots
from videos.management.waiting import spawn, start_worker, stop, wait_for
from videos.models import Event, Video
from videos.search import Hit, search
from videos.text.timecodes import clock

SAMPLE = Path(settings.BASE_DIR) / "sample" / "lecture.mp4"

QUESTION = "How do plants make sugar from light?"
ADMIN = "admin"
_WORKER_WITHIN_S = 30
_LINES_SHOWN = 5
_LOOK_S = 0.5


class Command(BaseCommand):
    """Migrates, makes an admin account, starts a worker and the web server, tries the sample."""

    help = "Run Chronos on this machine: services, worker, web server; try it on a sample video."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=port_number, default=os.environ.get("PORT") or "8000")
        parser.add_argument("--once", action="store_true", help="Stop after the search.")
        parser.add_argument("--no-sample", action="store_true", help="Do not try the sample.")
        parser.add_argument("--no-web", action="store_true", help="No web server.")
        parser.add_argument("--processes", type=int, default=1, help="Worker processes.")
        parser.add_argument("--threads", type=int, default=8, help="Threads of each.")

    def handle(self, *args: Any, **options: Any) -> None:
        # Set both: a shell starts background commands with SIGINT ignored.
        for stopping in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stopping, _interrupt)
        try:
            with ExitStack() as children:
                self._run(children, options)
        except KeyboardInterrupt:
            self._say("Stopped.")

    def _run(self, children: ExitStack, options: dict[str, Any]) -> None:
        self._say("Preparing the database …")
        call_command("migrate", verbosity=0, interactive=False)
        logs = private_folder(settings.DATA_DIR / "logs")
        worker_log = children.enter_context((logs / "worker.log").open("ab"))
        running: dict[str, Callable[[], subprocess.Popen[bytes]]] = {
            "worker": lambda: start_worker(options["processes"], options["threads"], worker_log)
        }
        if not options["no_web"]:
            _check_port(options["port"])
            web_log = children.enter_context((logs / "web.log").open("ab"))
            running["web server"] = lambda: _start_web(options["port"], web_log)
        processes = {name: start() for name, start in running.items()}
        children.callback(_stop_all, processes)
        admin = self._admin()  # While those start: to hash its password takes a while.
        _wait_for_worker(processes["worker"], logs / "worker.log")
        if "web server" in processes:
            self._say(f"Chronos is at http://127.0.0.1:{options['port']}/ (admin: /admin/)")
        if not options["no_sample"]:
            hit = self._try_sample(admin)
            if hit is not None and "web server" in processes and not options["once"]:
                page = reverse("videos:watch", args=[hit.video.pk])
                self._say(f"  http://127.0.0.1:{options['port']}{page}?t={hit.jump:.0f}")
        if options["once"]:
            return
        self._say("Press Ctrl-C to stop.")
        while True:
            time.sleep(_LOOK_S)
            for name, process in processes.items():
                if process.poll() is not None:
                    self._say(f"The {name} exited with {process.returncode}: restarting it.")
                    processes[name] = running[name]()

    def _admin(self) -> Any:
        """Return the admin account; a new one gets a password, which is told once."""
        users = get_user_model()
        given = os.environ.get("CHRONOS_ADMIN_PASSWORD")
        password = given or secrets.token_urlsafe(12)
        shown = f"password: {'as CHRONOS_ADMIN_PASSWORD says' if given else password}"
        admin = users._default_manager.filter(is_superuser=True).order_by("pk").first()
        if admin is None:
            admin = users._default_manager.create_superuser(
                **{users.USERNAME_FIELD: ADMIN}, email="", password=password
            )
        elif not given:
            shown = f"for another password: manage.py changepassword {admin.get_username()}"
        elif not admin.check_password(given):
            admin.set_password(given)
            admin.save(update_fields=["password"])
        self._say(f"Admin account: {admin.get_username()}, {shown}")
        return admin

    def _try_sample(self, admin: Any) -> Hit | None:
        """Process the sample, search in it, and return what was found."""
        video = self._sample_video(admin)
        if video is None:
            return None
        if video.status in (Video.Status.FAILED, Video.Status.CANCELLED):
            video.reprocess()
        if video.status != Video.Status.COMPLETED:
            self._say(f"Processing the sample, {SAMPLE.name} …")
            wait_for([video.pk])
            video.refresh_from_db()
        if video.status != Video.Status.COMPLETED:
            raise CommandError(f"The sample did not complete: {video.error or video.status}")
        self._say("\nThe transcript begins:")
        for segment in serving_segments(video)[:_LINES_SHOWN]:
            self._say(f"  {clock(segment.start)}  {segment.text}")
        self._say(f"\nSearch: {QUESTION}")
        hits = search(QUESTION, Video.objects.filter(pk=video.pk), limit=1)
        if not hits:
            raise CommandError("The search found nothing in the sample.")
        self._say(f"  {clock(hits[0].jump)}  {hits[0].video.title}: {hits[0].snippet}")
        return hits[0]

    def _sample_video(self, admin: Any) -> Video | None:
        """Return the sample's video, made the first time; None once somebody deleted it."""
        mine = Video.objects.filter(original_filename=SAMPLE.name, creator=admin)
        video = mine.order_by("created_at").first()
        if video is not None:
            return video
        if Event.objects.filter(data__original_filename=SAMPLE.name).exists():
            return None
        with SAMPLE.open("rb") as content:
            return Video.objects.create(
                creator=admin, file=File(content, name=SAMPLE.name), title="A short lecture"
            )

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def port_number(text: str) -> int:
    """Return a port that a server can listen on, for argparse to refuse anything else."""
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)


def _stop_all(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        stop(process)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check_port(port: int) -> None:
    """Raise CommandError where another program listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise CommandError(
                f"Port {port} is taken by another program: choose one with PORT= or --port."
            ) from None


def _start_web(port: int, log: Any) -> subprocess.Popen[bytes]:
    # It hands bodies on as they arrive; others keep the whole of each on disk before asking us.
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--threads=8"]
    return spawn([*command, "chronos.wsgi:application"], log)


def _wait_for_worker(worker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _WORKER_WITHIN_S
    while not live_slots():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise CommandError(f"The worker did not start, see {log}.")
        time.sleep(0.1)
