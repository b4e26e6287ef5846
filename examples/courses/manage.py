#!/usr/bin/env python
"""Django's commands for the course platform."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courses.settings")
    execute_from_command_line(sys.argv)
