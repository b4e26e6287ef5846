"""`create_roles`: groups for those who look, operate, pay and configure."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from videos.management.reporting import ReportingCommand

_SEES = Q(codename__startswith="view_")
#: What each group may do beside seeing all, by Django's names.
_ROLES: dict[str, list[str]] = {
    "Chronos: view": [],
    "Chronos: operate": [
        *("change_video", "change_run", "change_worker", "change_setaside", "add_event"),
        *("add_pause", "change_pause", "delete_pause", "add_video"),
    ],
    "Chronos: pay": ["add_budget", "change_budget", "delete_budget"],
    "Chronos: configure": [
        *("add_apikey", "change_apikey", "delete_apikey"),
        *("add_webhook", "change_webhook", "delete_webhook"),
        *("add_glossary", "change_glossary", "delete_glossary", "delete_video"),
    ],
}


class Command(ReportingCommand):
    """Makes the groups, or gives them their permissions back; people are added in the admin."""

    help = (
        "Make four groups of the admin's permissions: who views, operates, pays and configures. "
        "Each may see all that operators see; people who are staff are added to them in the admin."
    )
    examples = ("", "--json")

    def perform(self, **options: Any) -> Any:
        ours = Permission.objects.filter(content_type__app_label="videos")
        document = {}
        for name, may in _ROLES.items():
            granted = ours.filter(_SEES | Q(codename__in=may))
            Group.objects.get_or_create(name=name)[0].permissions.set(granted)
            document[name] = sorted(granted.values_list("codename", flat=True))
        return {"groups": document}

    def show(self, document: Any, **options: Any) -> None:
        for name, granted in document["groups"].items():
            self.stdout.write(f"{name}: {len(granted)} permissions")
