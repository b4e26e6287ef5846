"""The admin site of the project."""

from __future__ import annotations

from django.contrib import admin
from django_dramatiq.models import Task

admin.site.site_header = "Chronos"
admin.site.site_title = "Chronos"
admin.site.index_title = "Videos, runs and usage"
# The only pages are the admin's.
admin.site.site_url = None
# It shows arguments and tracebacks unescaped; Chronos has runs, steps and events instead.
admin.site.unregister(Task)
