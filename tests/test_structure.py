"""Imports point one way; `videos` stands without `chronos`, in a foreign project as well."""

import ast
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from importlib import metadata

import pytest

from tests.conftest import PROJECT, empty_database
from tests.environment import clean

#: From the ground up: a room may import from itself and from those before it.
ROOMS = {
    "ground": {"videos", "videos.conf", "videos.exceptions"},
    "local": {"videos.local"},
    "text": {"videos.text"},
    "audio": {"videos.audio"},
    "engine": {"videos.durable"},
    "models": {"videos.models"},
    "ai": {"videos.ai"},
    "public": {
        *("videos.access", "videos.documents", "videos.events", "videos.playback"),
        *("videos.search", "videos.usage"),
    },
    "pipeline": {"videos.pipeline"},
    "surfaces": {
        *("videos.actors", "videos.admin", "videos.apps", "videos.brokers", "videos.checks"),
        *(
            "videos.management",
            "videos.middleware",
            "videos.monitoring",
            "videos.receivers",
            "videos.stages",
        ),
        *("videos.api", "videos.pages", "videos.templatetags", "videos.urls"),
    },
}
PURE = (
    *("text.captions", "text.caption_writer", "text.chunking", "text.counting", "text.ranking"),
    *("text.glue", "text.sentences", "text.passages"),
    *("text.correcting", "text.retiming", "text.carrying_over"),
    *("audio.parts", "audio.splitting", "audio.stitching", "audio.confidence"),
    "audio.ffmpeg_output",
    *("durable.retries", "ai.capabilities", "ai.vector_answers"),
)


def imported_by(path, *, everywhere=False):
    """Names of modules that a file imports when it is loaded, or anywhere in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources():
    """Every file of ours by the name under which it is imported."""
    found = {}
    for package in ("videos", "chronos"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            if "migrations" not in parts:
                found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports():
    """The files that each file imports, wherever in it the import stands."""
    files = sources()
    return {
        name: {
            imported
            for imported in imported_by(path, everywhere=True)
            # A file of a package does not import the package by being in it.
            if imported in files and imported != name and not name.startswith(f"{imported}.")
        }
        for name, path in files.items()
    }


def circles(graph):
    """Sets of files each of which reaches all others of its set."""
    reached = {name: _reached_from(name, graph) for name in graph}
    found = {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph
    }
    return sorted((circle for circle in found if circle), key=len)


def _reached_from(name, graph):
    found, left = set(), [name]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


def test_no_file_imports_itself_through_others():
    assert circles(imports()) == []


def modules():
    for path in sorted((PROJECT / "videos").rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        if "migrations" not in parts and parts != ("videos", "__init__"):
            yield parts[1], path


def room_of(module):
    """The position of a file's room, from the ground up."""
    homes = {home: number for number, room in enumerate(ROOMS.values()) for home in room}
    while module not in homes:
        module = module.rpartition(".")[0]
    return homes[module]


def ours():
    return [name for name in sources() if name.split(".")[0] == "videos"]


def test_every_file_has_a_room():
    homes = {home for room in ROOMS.values() for home in room}
    beneath = {name for name in ours() if name.count(".") == 1}

    assert beneath - homes == set()


def test_no_file_imports_from_a_room_above_its_own():
    graph = imports()
    wrong = [
        f"{name} imports {imported}"
        for name in ours()
        for imported in graph[name]
        if room_of(imported) > room_of(name)
    ]

    assert wrong == []


def test_videos_knows_nothing_of_chronos():
    wrong = [
        path.name
        for path in (PROJECT / "videos").rglob("*.py")
        if "chronos" in {name.split(".")[0] for name in imported_by(path)}
    ]

    assert wrong == []


def test_videos_can_be_installed_with_all_that_it_needs():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    declared = {re.split(r"[^\w-]", need)[0].lower() for need in project["project"]["dependencies"]}
    given = metadata.packages_distributions()
    needed = {
        given[name.split(".")[0]][0].lower().replace("_", "-")
        for _, path in modules()
        for name in imported_by(path)
        if name.split(".")[0] in given
    }
    files = {path for path in (PROJECT / "videos").rglob("*") if path.is_file()}
    packed = {
        path
        for pattern in project["tool"]["setuptools"]["package-data"]["videos"]
        for path in (PROJECT / "videos").glob(pattern)
    }

    assert needed - declared == set()
    assert {path.name for path in files - packed if path.suffix not in (".py", ".pyc")} == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_nothing_of_django_clocks_or_files(name):
    imported = {entry.split(".")[0] for entry in imported_by(sources()[f"videos.{name}"])}

    assert not imported & {"django", "time", "datetime", "os", "pathlib", "random", "requests"}


def test_older_processes_can_insert_rows_while_newer_columns_are_deployed():
    from importlib import import_module

    from django.db.migrations import AddField
    from django.db.models import NOT_PROVIDED

    # 0006 and older were deployed with what they belong to.
    numbered = sorted((PROJECT / "videos" / "migrations").glob("0*.py"))
    numbered = [path for path in numbered if "squashed" not in path.stem][6:]
    operations = [
        operation
        for path in numbered
        for operation in import_module(f"videos.migrations.{path.stem}").Migration.operations
    ]
    created = {entry.name.lower() for entry in operations if type(entry).__name__ == "CreateModel"}
    wrong = [
        f"{entry.model_name}.{entry.name}"
        for entry in operations
        if isinstance(entry, AddField)
        and entry.model_name not in created
        and not entry.field.null
        and entry.field.db_default is NOT_PROVIDED
    ]

    assert wrong == []


def writes_a_status(tree):
    """Whether code updates a column `status`, or sets the status of an object."""
    return any(
        (
            (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update")
            and any(keyword.arg == "status" for keyword in node.keywords)
        )
        or (
            isinstance(node, ast.Attribute)
            and node.attr == "status"
            and isinstance(node.ctx, ast.Store)
        )
        for node in ast.walk(tree)
    )


def test_only_statuses_writes_a_videos_status():
    writing = [path.name for _, path in modules() if writes_a_status(ast.parse(path.read_text()))]

    assert writing == ["statuses.py"]


#: Columns by which runs are scheduled.
SCHEDULING = {"holds_slot", "released_at", "message_lost_at", "waiting_reason", "waits_behind"}


def schedules(node):
    """Whether code updates a column of these, by Django or by SQL."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update":
        return bool(SCHEDULING & {keyword.arg for keyword in node.keywords})
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text and re.search(rf"\b({'|'.join(SCHEDULING)}) = ", node.value) is not None


def test_only_runs_and_claims_schedule_runs():
    writing = {
        name
        for name in ours()
        for node in ast.walk(ast.parse(sources()[name].read_text()))
        if schedules(node)
    }

    assert writing == {"videos.durable.claims", "videos.durable.runs"}


def test_the_map_of_the_house_names_files_that_are_there():
    rows = re.findall(r"^\| .* \| (.*`.*) \|$", (PROJECT / "CONTRIBUTING.md").read_text(), re.M)
    named = [name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row)]

    assert len(rows) >= 30
    beside = PROJECT / "videos" / "durable" / "paid"
    missing = [
        name
        for name in named
        if not (PROJECT / "videos" / name).exists() and not (beside / name).exists()
    ]
    assert missing == []


LOADED = """
import sys, django
django.setup()
from django.core.checks import run_checks
run_checks()
import chronos.urls
print(*sys.modules)
"""


def test_no_command_and_no_page_waits_for_the_libraries_that_hear():
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=PROJECT,
        env=clean(dict(os.environ)) | {"DJANGO_SETTINGS_MODULE": "chronos.settings"},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(done.stdout.split())
    assert {"videos.pipeline.functions", "videos.pages.views"} <= loaded
    assert not loaded & {"numpy", "soundfile", "charset_normalizer", "faster_whisper"}


FOREIGN = """
import django, dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=%(redis)r)
dramatiq.set_broker(broker)
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.postgres",
        "django.contrib.admin", "django.contrib.messages", "django.contrib.sessions",
        "accounts", "videos",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]}}],
    SECRET_KEY="k",
    AUTH_USER_MODEL="accounts.Member",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": %(name)r,
        "USER": "chronos", "PASSWORD": %(password)r, "HOST": %(host)r}},
    USE_TZ=True,
    CHRONOS_TRANSCRIPTION_API_KEY="k", CHRONOS_EMBEDDING_API_KEY="k",
    CHRONOS_TRANSCRIPTION_MODEL="gpt-transcribe",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.contrib.auth import get_user_model
from django.template.loader import get_template
from videos.models import Run, Video

print([message.id for message in run_checks()])
call_command("migrate", verbosity=0, run_syncdb=True)
call_command("makemigrations", "videos", check=True, dry_run=True, verbosity=0)
member = get_user_model().objects.create(email="ada@example.com")
video = Video.objects.create(creator=member, file=ContentFile(b"x", "x.mp4"))
print(Run.objects.get(video=video).waiting_for["reason"], video.creator_id == member.pk)
video.delete()
for name in ("change_form", "transcript", "chunks", "reprocess"):
    get_template(f"admin/videos/video/{name}.html")
"""

ACCOUNTS = """
import uuid
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models

class Member(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"
    objects = BaseUserManager()
"""


@pytest.mark.django_db(transaction=True)
def test_videos_works_in_a_foreign_project_with_its_own_users_and_broker(tmp_path):
    from django.db import connection

    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "__init__.py").touch()
    (tmp_path / "accounts" / "models.py").write_text(textwrap.dedent(ACCOUNTS))
    given = connection.settings_dict
    with empty_database("foreign_project"):
        script = FOREIGN % {
            "redis": os.environ["REDIS_URL"].replace("db=0", "db=5"),
            "name": "foreign_project",
            "password": given["PASSWORD"],
            "host": given["OPTIONS"]["host"],
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=clean(dict(os.environ)) | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['videos.E001']", "capacity True"]
