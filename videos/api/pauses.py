"""Pauses by the API: for operators' programs, such as a deployment."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Router, Schema

from videos.access import operated_creators
from videos.api.keys import idempotent, writes
from videos.api.problems import Problem, not_found, wrong
from videos.documents import pause_document
from videos.durable import admission, pauses
from videos.models import Pause
from videos.pipeline.pausing import pausable
from videos.text.storable import storable

router = Router(tags=["pauses"])


class PauseAsked(Schema):
    """What is to be held back."""

    kind: Literal["all", "queue", "function", "creator", "service"]
    name: str = Field(
        default="", max_length=255, description="Of the queue, function, service, or creator."
    )
    why: str = Field(default="", max_length=300, description="Shown wherever it is waited for.")
    until: datetime | None = Field(default=None, description="Without it, until it is deleted.")


class PauseSaid(Schema):
    """What is held back, by whom, and why."""

    id: int
    kind: str
    name: str | None
    by: str | None
    why: str | None
    since: str
    until: str | None


class Pauses(Schema):
    """All that is held back now."""

    pauses: list[PauseSaid]


@router.get("", response=Pauses)
def list_pauses(request: HttpRequest) -> Any:
    """List what operators hold back; it needs the permission to view pauses."""
    _check(request, "view")
    rows = _theirs(request, pauses.in_force()).select_related("creator").order_by("since")
    return {"pauses": [_said(row) for row in rows]}


@router.post("", response={201: PauseSaid}, auth=writes)
@idempotent
def begin_pause(request: HttpRequest, asked: PauseAsked) -> Any:
    """Hold starts back, or a service's calls; it needs the permission to add pauses."""
    _check(request, "add")
    until = asked.until
    if until is not None and timezone.is_naive(until):
        until = timezone.make_aware(until)  # As the command takes it.
    if until is not None and until <= timezone.now():
        raise wrong("until", "This time is over.")
    row = pauses.begin(
        Pause.Kind(asked.kind),
        **_named(request, asked),
        by=request.user.get_username(),
        why=asked.why,
        until=until,
    )
    admission.admit()
    row.refresh_from_db()
    return HttpResponse(
        PauseSaid(**_said(row)).model_dump_json(),
        status=HTTPStatus.CREATED,
        content_type="application/json",
    )


@router.delete("/{int:pause_id}", response={204: None}, auth=writes)
def end_pause(request: HttpRequest, pause_id: int) -> Any:
    """Let go what was held back; it needs the permission to delete pauses."""
    _check(request, "delete")
    row = _theirs(request, Pause.objects.filter(pk=pause_id))
    if not row.exists():
        raise not_found("pause")
    pauses.end(row)
    admission.admit()
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


def _check(request: HttpRequest, action: str) -> None:
    if not request.user.has_perm(f"videos.{action}_pause"):
        raise Problem(HTTPStatus.FORBIDDEN, f"This key's owner may not {action} pauses.")


def _theirs(request: HttpRequest, rows: QuerySet[Pause]) -> QuerySet[Pause]:
    creators = operated_creators(request.user)
    return rows if creators is None else rows.filter(creator__in=creators)


def _named(request: HttpRequest, asked: PauseAsked) -> dict[str, Any]:
    """Return the name or the creator of what is asked for, as its kind wants it."""
    kind = Pause.Kind(asked.kind)
    creators = operated_creators(request.user)
    if kind == Pause.Kind.CREATOR:
        users = get_user_model()._default_manager.all() if creators is None else creators
        creator = users.filter(**{get_user_model().USERNAME_FIELD: storable(asked.name)}).first()
        if creator is None:
            raise wrong("name", "There is no such creator.")
        return {"creator": creator}
    if creators is not None:
        raise Problem(HTTPStatus.FORBIDDEN, "This key's owner may pause creators alone.")
    known = pausable().get(kind, [""])
    if asked.name not in known:
        one_of = ", ".join(known)
        raise wrong("name", f"One of: {one_of}." if one_of else "All runs have no name.")
    return {"name": asked.name}


def _said(row: Pause) -> dict[str, Any]:
    return {"id": row.pk} | pause_document(row)
