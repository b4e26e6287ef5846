"""Who may look, operate, pay and configure: each role does its own, and sees the rest."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from tests.test_commands import manage
from videos.management.commands.create_roles import _ROLES
from videos.models import Budget, Pause

pytestmark = pytest.mark.django_db(transaction=True)

PAUSE = {"kind": "all", "name": "", "creator": "", "why": "", "until_0": "", "until_1": ""}


@pytest.fixture
def of_role(client, django_user_model):
    def sign_in(role):
        manage("create_roles")
        person = django_user_model.objects.create_user(role, is_staff=True)
        person.groups.add(Group.objects.get(name=f"Chronos: {role}"))
        client.force_login(person)
        return client

    return sign_in


@pytest.mark.parametrize("role", ["view", "operate", "pay", "configure"])
def test_each_role_sees_all_and_does_its_own(of_role, role):
    client = of_role(role)

    for model in ("video", "run", "event", "call", "worker", "pause", "budget", "breaker"):
        page = client.get(reverse(f"admin:videos_{model}_changelist"))
        assert page.status_code == 200, model
    assert client.get(reverse("admin:videos_run_overview")).status_code == 200
    client.post(reverse("admin:videos_pause_add"), PAUSE)
    client.post(reverse("admin:videos_budget_add"), {"creator": "", "month_usd": "5"})

    assert Pause.objects.exists() == (role == "operate")
    assert Budget.objects.exists() == (role == "pay")


def test_every_permission_that_a_role_names_is_there():
    named = {name for may in _ROLES.values() for name in may}
    known = Permission.objects.filter(content_type__app_label="videos", codename__in=named)

    assert set(known.values_list("codename", flat=True)) == named


def test_the_groups_get_their_permissions_back():
    manage("create_roles")
    Group.objects.get(name="Chronos: operate").permissions.clear()

    groups = manage("create_roles", "--json")["groups"]

    assert "change_run" in groups["Chronos: operate"]
    assert not any(name.startswith(("add", "change")) for name in groups["Chronos: view"])
