#!/usr/bin/env python
"""Chronos from the command line; `manage.py help` lists the commands."""

from __future__ import annotations

import os
import sys

#: Commands that neither read nor write anything, or that steer the services themselves.
_WITHOUT_SERVICES = {
    "services",
    "help",
    "--help",
    "-h",
    "version",
    "--version",
    "makemessages",
}


def main() -> None:
    """Start the services that no URL is given for, then run the command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chronos.settings")
    try:
        from chronos.embedded.client import provide
        from chronos.environment import read_environment
    except ImportError as error:
        sys.exit(
            f"{error}: this Python does not have what Chronos needs. `make install` puts it into "
            ".venv; then use `.venv/bin/python manage.py`."
        )
    arguments = sys.argv[1:]
    alone = not arguments or arguments[0] in _WITHOUT_SERVICES or "--help" in arguments
    held = None if alone else provide(read_environment())
    if held is not None and arguments[0] == "rundramatiq":
        # The command becomes Dramatiq's program, which needs the services as well.
        held.survive_exec()

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    finally:
        if held is not None:
            held.release()


if __name__ == "__main__":
    main()
