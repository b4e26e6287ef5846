"""Operators who have some creators: every page and button of the admin, and the API."""

import json

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.urls import reverse

from tests.rows import completed_video
from videos.models import ApiKey, Budget, Call, Event, Glossary, Pause, Run, Video, Webhook, Worker

pytestmark = pytest.mark.django_db
OURS = [admin_ for admin_ in admin.site._registry.values() if admin_.opts.app_label == "videos"]


def has_ada(user):
    """A policy: everybody operates the work of ada."""
    return get_user_model()._default_manager.filter(username="ada")


@pytest.fixture
def bob(django_user_model, creator, settings):
    bob = django_user_model.objects.create_user("bob")
    for each in (creator, bob):
        completed_video(each)
        Budget.objects.create(creator=each, month_usd=1)
        Glossary.objects.create(creator=each, prompt=f"of {each}")
        ApiKey.issue(each, f"key of {each}")
        Webhook.objects.create(creator=each, url=f"https://{each}.example")
        Pause.objects.create(kind="creator", creator=each)
        Call.objects.create(
            creator=each, creator_name=each.get_username(), service="embedding", model="m"
        )
    Event.objects.create(name="letters/card.requested", data={"name": "bob"})
    Budget.objects.create(month_usd=9)
    Worker.objects.create(pid=1, host="h", threads=1, last_seen="2026-01-01T00:00Z")
    settings.CHRONOS_OPERATOR_POLICY = f"{__name__}.has_ada"
    return bob


def names(rows):
    creator = "webhook__creator" if rows.model.__name__ == "WebhookDelivery" else "creator"
    return set(rows.values_list(f"{creator}__username", flat=True))


@pytest.mark.parametrize("model_admin", OURS, ids=lambda each: each.opts.model_name)
def test_every_list_and_page_shows_their_rows_alone(admin_client, rf, bob, model_admin):
    name = f"admin:videos_{model_admin.opts.model_name}"
    listed = admin_client.get(reverse(f"{name}_changelist"))
    if model_admin.creator_field is None:
        assert listed.status_code == 403
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403
        return
    assert listed.status_code == 200
    assert names(listed.context["cl"].queryset) <= {"ada"}
    assert "bob" not in listed.content.decode()
    of_bob = model_admin.model._default_manager.filter(**{model_admin.creator_field: bob})
    for row in of_bob:
        for page in ("change", "delete", "history"):
            answer = admin_client.post(reverse(f"{name}_{page}", args=[row.pk]), {"post": "yes"})
            assert answer.status_code in (302, 403, 404)
            if answer.status_code == 302:
                assert answer["Location"] == reverse("admin:index"), "it is said not to exist"
        assert model_admin.model._default_manager.filter(pk=row.pk).exists()


def test_nothing_of_others_is_opened_or_steered_by_its_address(admin_client, bob):
    video = Video.objects.get(creator=bob)
    run = Run.objects.filter(video=video).get()
    for page in ("transcript", "chunks", "media"):
        address = reverse(f"admin:videos_video_{page}", args=[video.pk])
        assert admin_client.get(address).status_code == 404
    assert admin_client.get(reverse("admin:videos_run_again", args=[run.pk])).status_code == 404
    action = {"action": "cancel", "_selected_action": [str(run.pk)]}
    admin_client.post(reverse("admin:videos_run_changelist"), action)
    run.refresh_from_db()
    assert run.state == "completed"
    assert not run.cancel_requested


def test_rows_are_given_to_theirs_alone(admin_client, bob):
    creator = get_user_model().objects.get(username="ada")
    Budget.objects.all().delete()
    for owner, count in ((bob.pk, 0), ("", 0), (creator.pk, 1)):
        admin_client.post(reverse("admin:videos_budget_add"), {"creator": owner, "month_usd": "5"})
        assert Budget.objects.count() == count
    for posted in ({"kind": "all"}, {"kind": "creator", "creator": bob.pk}):
        admin_client.post(reverse("admin:videos_pause_add"), posted)
    assert Pause.objects.count() == 2


def test_the_whole_sites_numbers_are_not_theirs(admin_client, bob):
    cache.clear()
    assert admin_client.get(reverse("admin:videos_run_overview")).status_code == 403
    assert "Is it well" not in admin_client.get(reverse("admin:index")).content.decode()


def test_the_api_pauses_theirs_alone(client, bob, django_user_model):
    operator = django_user_model.objects.create_superuser("eve")
    token = ApiKey.issue(operator, "tests", ApiKey.Scope.WRITE)[1]

    def call(method, path="", **data):
        return client.generic(
            method,
            f"/api/v1/pauses{path}",
            json.dumps(data) if data else "",
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )

    assert [row["name"] for row in call("GET").json()["pauses"]] == ["ada"]
    assert call("POST", kind="creator", name="bob").status_code == 422
    assert call("POST", kind="all").status_code == 403
    assert call("POST", kind="creator", name="ada").status_code == 201
    assert call("DELETE", f"/{Pause.objects.get(creator=bob).pk}").status_code == 404
