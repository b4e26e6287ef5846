"""`services`: the embedded Postgres, Redis and AI server."""

from __future__ import annotations

import re
from typing import Any

from django.core.management.base import CommandParser

from chronos.embedded import client
from chronos.embedded.folders import data_folder
from chronos.environment import Environment, read_environment
from videos.management.reporting import ReportingCommand


class Command(ReportingCommand):
    """Starts, stops or shows the services that no URL is configured for."""

    help = (
        "Start the embedded services and keep them until `services stop`; without it they live "
        "as long as any command that uses them."
    )
    examples = ("start", "status --json", "stop")
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=["start", "stop", "status"])
        parser.add_argument(
            "--show-secrets", action="store_true", help="Print passwords, as --json does."
        )

    def perform(self, **options: Any) -> Any:
        environment = read_environment()
        missing = client.missing_services(environment)
        if options["action"] == "start":
            answer = client.pin(missing) if missing else client.status()
        elif options["action"] == "stop":
            if client.unpin()["holders"]:
                self.say("Another command is using them; they stop when it does.")
            answer = client.status()
        else:
            answer = client.status()
        running = answer["services"]
        return {
            name: (
                {
                    "url": running.get(name, {}).get("url"),
                    "running": running.get(name, {}).get("running", False),
                }
                | ({"api_key": running.get(name, {}).get("key")} if name == "ai" else {})
                if name in missing
                else {"url": _configured(environment, name), "running": None}
            )
            for name in ("postgres", "redis", "ai")
        }

    def show(self, document: Any, **options: Any) -> None:
        for name, service in document.items():
            if service["running"] is None:
                state = "configured by URL"
            else:
                url = service["url"] if options["show_secrets"] else _masked(service["url"] or "")
                state = f"running at {url}" if service["running"] else "stopped"
            self.stdout.write(f"{name:<9} {state}")
        self.stdout.write(f"data      {data_folder()}")


def _masked(url: str) -> str:
    return re.sub(r"(?<=://)([^:@/]*):[^@]*(?=@)", r"\1:…", url)


def _configured(environment: Environment, name: str) -> str | None:
    if name == "postgres":
        return environment.database_url
    if name == "redis":
        return environment.redis_url or environment.broker_url
    return environment.service("transcription")[0]
