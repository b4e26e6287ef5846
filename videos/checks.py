"""System checks: misconfiguration is told at the start, by a stable id, with a hint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import dramatiq
from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections
from django.utils.module_loading import import_string

from videos.ai import capabilities
from videos.audio import ffmpeg
from videos.conf import conf
from videos.durable.paid import prices
from videos.local import confinement
from videos.middleware import Durability
from videos.models import Embedding, ServingModel

#: The tag of those that ask whether the app is configured as it should be.
OURS = "videos"
_TRANSCRIBER = ("prices", "capability", "transcribe", "close")
_EMBEDDER = ("prices", "limits", "embed", "close")
_OUR_PROVIDERS = "videos.ai."
_OPENAI_HOST = "api.openai.com"
#: Below this an exact scan is fast, and an index not worth its upkeep.
_INDEX_WORTH_ROWS = 100_000


@register(Tags.compatibility, OURS)
def check_middleware(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The broker must pass pipelines on and keep claims alive."""
    present = {type(entry) for entry in dramatiq.get_broker().middleware}
    missing = [
        f"{needed.__module__}.{needed.__name__}"
        for needed in (dramatiq.middleware.Pipelines, Durability)
        if needed not in present
    ]
    if not missing:
        return []
    return [
        Error(
            f"The Dramatiq broker lacks the middleware {' and '.join(missing)}.",
            hint="List it under MIDDLEWARE in the setting DRAMATIQ_BROKER.",
            id="videos.E001",
        )
    ]


@register(OURS)
def check_ffmpeg(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The ffmpeg that is named should be a program: a web process can do without."""
    named = conf().ffmpeg
    if not named or shutil.which(named):
        return []
    return [
        Warning(
            f"CHRONOS_FFMPEG names {named!r}, which is no program here, and workers need one.",
            hint="Name one, or leave it out: the package imageio-ffmpeg brings one.",
            id="videos.W004",
        )
    ]


@register(OURS)
def check_keys(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """OpenAI's own service wants a key."""
    settings = conf()
    messages: list[CheckMessage] = []
    for service, path, base_url, key in [
        (
            "TRANSCRIPTION",
            settings.transcriber,
            settings.transcription_base_url,
            settings.transcription_api_key,
        ),
        (
            "EMBEDDING",
            settings.embedder,
            settings.embedding_base_url,
            settings.embedding_api_key,
        ),
    ]:
        is_openai = path.startswith(_OUR_PROVIDERS) and (not base_url or _OPENAI_HOST in base_url)
        if is_openai and not key:
            messages.append(
                Error(
                    f"The {service.lower()} service is OpenAI's, and there is no key for it.",
                    hint=f"Set OPENAI_API_KEY or {service}_API_KEY, or name a server of your own "
                    f"in {service}_BASE_URL.",
                    id="videos.E002",
                )
            )
    return messages


@register(OURS)
def check_providers(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The classes that call the services must be there."""
    messages: list[CheckMessage] = []
    for setting, path, members in [
        ("CHRONOS_TRANSCRIBER", conf().transcriber, _TRANSCRIBER),
        ("CHRONOS_EMBEDDER", conf().embedder, _EMBEDDER),
    ]:
        try:
            lacking = [name for name in members if not hasattr(import_string(path), name)]
        except ImportError as error:
            messages.append(
                Error(
                    f"{setting} names {path!r}, which cannot be imported: {error}.",
                    hint="It is the dotted path of a class, as docs/extending.md describes.",
                    id="videos.E006",
                )
            )
            continue
        if lacking:
            messages.append(
                Error(
                    f"{setting} names {path!r}, which has no {', '.join(lacking)}.",
                    hint="videos/ai/providers.py says what such a class has.",
                    id="videos.E006",
                )
            )
    return messages


@register(OURS)
def check_tables(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Limits and prices are numbers by names that are known: a misspelt one would mean none."""
    tables: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
        ("CHRONOS_LIMITS", dict(conf().limits), ("requests_per_minute", "tokens_per_minute")),
        ("CHRONOS_PRICES", dict(conf().prices), prices.UNITS),
    ]
    return [
        Error(
            f"{setting}[{name!r}] is {entry!r}.",
            hint=f"It holds numbers of 0 or more by {', '.join(known)}; a price may also be a list "
            'of such, each "from" a day.',
            id="videos.E007",
        )
        for setting, table, known in tables
        for name, given in table.items()
        for entry in (given if isinstance(given, list) and known is prices.UNITS else [given])
        if not _is_row(entry, known)
    ]


def _is_row(entry: Any, known: tuple[str, ...]) -> bool:
    if not isinstance(entry, dict):
        return False
    numbers = dict(entry)
    if known is prices.UNITS:
        numbers.pop("from", None)
        try:
            prices.begins(entry)
        except (ValueError, TypeError):
            return False
    return set(numbers) <= set(known) and all(
        isinstance(value, (int, float)) and value >= 0 for value in numbers.values()
    )


@register(OURS)
def check_transcription_model(
    app_configs: Sequence[AppConfig] | None, **_: Any
) -> list[CheckMessage]:
    """OpenAI has announced the end of whisper-1 and of the gpt-4o models."""
    settings = conf()
    openai = not settings.transcription_base_url or _OPENAI_HOST in settings.transcription_base_url
    ends = capabilities.ENDS.get(settings.transcription_model)
    if ends is None or not openai:
        return []
    return [
        Warning(
            f"OpenAI ends {settings.transcription_model} on {ends}.",
            hint="Set CHRONOS_TRANSCRIPTION_MODEL to gpt-transcribe (its times are found "
            "here), or CHRONOS_TRANSCRIPTION_BASE_URL to a faster-whisper server; in Chronos' own "
            "environment without CHRONOS_.",
            id="videos.W001",
        )
    ]


@register(Tags.security, deploy=True)
def check_sandbox(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Tell where the kernel lacks what keeps a broken ffmpeg from our network and files."""
    messages: list[CheckMessage] = []
    if not confinement.has_landlock():
        messages.append(
            Info(
                "The kernel has no Landlock, so ffmpeg may read what this user may read.",
                hint="Use Linux 5.13 or newer with Landlock among its security modules, or run "
                "workers as a user of their own.",
                id="videos.I002",
            )
        )
    if not check_ffmpeg(app_configs) and not ffmpeg.can_start():
        messages.append(
            Error(
                "ffmpeg cannot be started in its sandbox.",
                hint="Its libraries must lie where the loader's configuration says "
                "(/etc/ld.so.conf), or beside it; or set CHRONOS_FFMPEG to another.",
                id="videos.E005",
            )
        )
    if ffmpeg.can_leave_network():
        return messages
    return [
        *messages,
        Info(
            "The kernel allows no network namespaces, so ffmpeg runs with this machine's network.",
            hint="Allow unprivileged user namespaces, or keep workers away from inner networks.",
            id="videos.I001",
        ),
    ]


@register(Tags.database)
def check_database(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **_: Any,
) -> list[CheckMessage]:
    """The extension is there, and what is stored fits what is configured."""
    messages: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        if connection.vendor != "postgresql":
            messages.append(
                Error(
                    f"The database {alias!r} is {connection.vendor}; Chronos needs PostgreSQL.",
                    hint="Set DATABASE_URL to a PostgreSQL 15 or newer with pgvector 0.8.",
                    id="videos.E003",
                )
            )
            continue
        with connection.cursor() as cursor:
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            version = cursor.fetchone()
        tables = set(connection.introspection.table_names())
        if Embedding._meta.db_table not in tables:
            continue
        if version is None:
            messages.append(
                Error(
                    "The extension pgvector is not in the database.",
                    hint="As the database's administrator: CREATE EXTENSION vector;",
                    id="videos.E004",
                )
            )
            continue
        messages += _check_stored(alias)
    return messages


def _check_stored(alias: str) -> list[CheckMessage]:
    settings = conf()
    # Columns of the first release: `migrate` runs this before it adds others.
    serving = ServingModel.objects.using(alias).only("model", "dimensions").first()
    if serving is None:
        return []
    messages: list[CheckMessage] = []
    if (serving.model, serving.dimensions) != (
        settings.embedding_model,
        settings.embedding_dimensions,
    ):
        messages.append(
            Warning(
                f"Searches are served by {serving.model} ({serving.dimensions} dimensions), "
                f"configured is {settings.embedding_model} ({settings.embedding_dimensions}).",
                hint="Embed everything again: manage.py reprocess --all --from embed. How far that "
                "is: manage.py embedding_models.",
                id="videos.W002",
            )
        )
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT reltuples FROM pg_class WHERE oid = %s::regclass",
            [Embedding._meta.db_table],
        )
        (rows,) = cursor.fetchone()
    if rows > _INDEX_WORTH_ROWS and not serving.has_index(alias):
        messages.append(
            Warning(
                f"{rows:.0f} vectors of {serving.model} have no HNSW index.",
                hint="Build it: manage.py index_embeddings.",
                id="videos.W003",
            )
        )
    return messages


@register(OURS)
def check_policies(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """What decides who sees, changes and uploads must be there, and can be called."""
    settings = conf()
    named = {
        "CHRONOS_VISIBLE_VIDEOS": settings.visible_videos,
        "CHRONOS_EDIT_POLICY": settings.edit_policy,
        "CHRONOS_UPLOAD_POLICY": settings.upload_policy,
        "CHRONOS_OPERATOR_POLICY": settings.operator_policy,
    }
    messages: list[CheckMessage] = []
    for setting, path in named.items():
        try:
            is_callable = callable(import_string(path))
        except ImportError:
            is_callable = False
        if not is_callable:
            messages.append(
                Error(
                    f"{setting} names {path!r}, which cannot be called.",
                    hint="Name a function that takes a user, by its dotted path.",
                    id="videos.E008",
                )
            )
    return messages
