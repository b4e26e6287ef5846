"""Check migrations, and the settings of a public deployment as strictly as Django can.

`make check` calls it. The deployment is made up, so nothing is read from the environment.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DEPLOYMENT = {
    "PATH": os.environ["PATH"],
    "CHRONOS_ENV_FILE": os.devnull,
    "DATABASE_URL": "postgresql://chronos@127.0.0.1:1/chronos",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DJANGO_ALLOWED_HOSTS": "chronos.example",
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
    "OPENAI_API_KEY": "made-up",
    "TRANSCRIPTION_MODEL": "gpt-transcribe",
}
#: Without a database the history of migrations cannot be compared; Django only warns of that.
CHECKS = [
    ["-W", "ignore::RuntimeWarning", "manage.py", "makemigrations", "--check", "--dry-run"],
    ["manage.py", "check", "--deploy", "--fail-level", "WARNING"],
]


def main() -> None:
    """Run every check; exit with 1 if one fails."""
    failed = [
        check
        for check in CHECKS
        if subprocess.run([sys.executable, *check], cwd=PROJECT, env=DEPLOYMENT).returncode
    ]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
