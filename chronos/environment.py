"""The environment variables that configure a deployment: typed, validated, read once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import dj_email_url
from dotenv import load_dotenv
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

#: Read by django-storages and boto3 themselves.
_AWS_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


def _address(*schemes: str) -> AfterValidator:
    """Refuse what is no address of one of these schemes."""

    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.netloc or parts.path.strip("/")):
            raise ValueError(f"it begins with {' or '.join(f'{each}://' for each in schemes)}")
        return value

    return AfterValidator(check)


def _known_email(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in dj_email_url.SCHEMES:
        raise ValueError("it begins with smtp:// or smtps://")
    return value


_REDIS = ("redis", "rediss", "unix")
_HttpUrl = Annotated[str, _address("https", "http")]


class Environment(BaseSettings):
    """Every variable of .env.example; an empty one counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    chronos_data_dir: str = ""
    database_url: Annotated[str, _address("postgresql", "postgres", "pgsql")] | None = None
    redis_url: Annotated[str, _address(*_REDIS)] | None = None
    broker_url: Annotated[str, _address(*_REDIS, "amqp", "amqps")] | None = None

    openai_api_key: SecretStr | None = None
    openai_base_url: _HttpUrl | None = None
    openai_admin_key: SecretStr | None = None
    transcription_base_url: _HttpUrl | None = None
    transcription_api_key: SecretStr | None = None
    transcription_model: str = "whisper-1"
    embedding_base_url: _HttpUrl | None = None
    embedding_api_key: SecretStr | None = None
    embedding_model: str = "text-embedding-3-small"
    embedding_dimensions: int = Field(default=1536, ge=1, le=4000)

    chronos_local_stt_model: str = ""

    aws_storage_bucket_name: str | None = None

    chronos_creator_concurrency: int = Field(default=10, ge=0)
    chronos_creator_starts_per_minute: int = Field(default=10, ge=0)
    chronos_bulk_concurrency: int = Field(default=4, ge=1)
    chronos_drain_s: float = Field(default=30.0, ge=0, le=900)
    chronos_parts_in_flight: int = Field(default=16, ge=1, le=256)
    chronos_upload_codec: Literal["flac", "opus"] = "flac"
    chronos_embedding_max_inputs: int = Field(default=2_048, ge=1, le=2_048)
    chronos_transcription_requests_per_minute: int = Field(default=0, ge=0)
    chronos_transcription_tokens_per_minute: int = Field(default=0, ge=0)
    chronos_embedding_requests_per_minute: int = Field(default=0, ge=0)
    chronos_embedding_tokens_per_minute: int = Field(default=0, ge=0)
    chronos_max_upload_bytes: int = Field(default=20 * 1024**3, ge=1)
    chronos_max_duration_s: int = Field(default=12 * 3600, ge=1)
    chronos_prices: dict[str, dict[str, float | str] | list[dict[str, float | str]]] = {}
    chronos_limits: dict[str, dict[str, int]] = {}
    chronos_similarity_floors: dict[str, float] = {"chronos-local-embed": 0.45}
    chronos_transcriber: str = "videos.ai.transcription.OpenAITranscriber"
    chronos_embedder: str = "videos.ai.embedding.OpenAIEmbedder"
    chronos_visible_videos: str = "videos.access.own_videos"
    chronos_edit_policy: str = "videos.access.own_videos"
    chronos_upload_policy: str = "videos.access.signed_in"
    chronos_operator_policy: str = "videos.access.whole_site"
    chronos_creator_quota_bytes: int = Field(default=0, ge=0)
    chronos_upload_retention_s: float = Field(default=7 * 86_400.0, ge=60)
    chronos_webhook_private_addresses: bool = False
    chronos_chat_base_url: _HttpUrl | None = None
    chronos_chat_api_key: SecretStr | None = None
    chronos_chat_model: str = ""
    chronos_log_format: Literal["line", "json"] = "line"
    chronos_keep_runs_days: int = Field(default=90, ge=0)
    chronos_keep_calls_days: int = Field(default=400, ge=0)
    chronos_keep_audio_days: int = Field(default=90, ge=0)
    chronos_keep_former_vectors_days: int = Field(default=30, ge=0)
    chronos_release: str = Field(default="", max_length=100)
    chronos_metrics_token: SecretStr | None = None
    chronos_rerank_base_url: _HttpUrl | None = None
    chronos_rerank_api_key: SecretStr | None = None
    chronos_rerank_model: str = ""
    chronos_chat_questions_per_hour: int = Field(default=60, ge=0)
    chronos_site_url: _HttpUrl | None = None
    email_url: Annotated[SecretStr, AfterValidator(_known_email)] | None = None
    chronos_ffmpeg: str | None = None
    chronos_listening: bool = True
    chronos_alignment_model: str | None = None

    django_secret_key: SecretStr | None = None
    django_debug: bool = False
    django_allowed_hosts: str = ""
    django_trust_forwarded_proto: bool = False
    django_hsts_preload: bool = False
    sentry_dsn: SecretStr | None = None

    @property
    def allowed_hosts(self) -> list[str]:
        """The host names of a public deployment; none: this machine alone."""
        return [host for each in self.django_allowed_hosts.split(",") if (host := each.strip())]

    def secrets(self) -> list[str]:
        """Return every value that must not be seen outside of this process."""
        hidden = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        urls = (self.database_url, self.redis_url, self.broker_url)
        hidden += [unquote(urlsplit(url).password or "") for url in urls if url]
        hidden += [os.environ.get(name, "") for name in _AWS_SECRETS]
        return [value for value in hidden if value]

    def secret(self, name: str) -> str | None:
        """Return the value of a variable that must not be seen, if it is set."""
        value: SecretStr | None = getattr(self, name)
        return value.get_secret_value() if value else None

    def lacks(self, name: str) -> bool:
        """Whether nobody is named for "transcription" or "embedding": no server, key or class."""
        by_class = {"transcription": self.chronos_transcriber, "embedding": self.chronos_embedder}
        is_ours = by_class[name].startswith("videos.ai.")
        return is_ours and self.service(name) == (None, None)

    def service(self, name: str) -> tuple[str | None, str | None]:
        """Return (base URL, key) of "transcription" or "embedding".

        A service that is named apart does not get OpenAI's key, unless it has that host, too.
        """
        base_url: str | None = getattr(self, f"{name}_base_url")
        key: SecretStr | None = getattr(self, f"{name}_api_key")
        if base_url is None:
            base_url, key = self.openai_base_url, key or self.openai_api_key
        return base_url, key.get_secret_value() if key else None


def read_environment() -> Environment:
    """Read the environment, and the file `.env` for what is not set there.

    CHRONOS_ENV_FILE names another file.

    Raises:
        SystemExit: naming the variable that is wrong, without its value.
    """
    load_dotenv(os.environ.get("CHRONOS_ENV_FILE") or _ENV_FILE)
    # Libraries that look for themselves would take an empty variable for a value.
    for name in [name for name, value in os.environ.items() if not value]:
        if name.lower() in Environment.model_fields or name.startswith("AWS_"):
            del os.environ[name]
    try:
        return Environment()
    except SettingsError as error:
        # What holds JSON is parsed before it is validated, and only the message names it.
        wrong = re.search(r'field "(\w+)"', str(error))
        name = wrong[1].upper() if wrong else str(error)
        raise SystemExit(f"The environment variable {name} is wrong: it is no JSON.") from None
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        raise SystemExit(
            f"The environment variable {str(first['loc'][0]).upper()} is wrong: "
            f"{first['msg'].removeprefix('Value error, ')}."
        ) from None
