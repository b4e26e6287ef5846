"""Django's settings, from the environment (see .env.example and docs/configuration.md)."""

from __future__ import annotations

import gc

# While all is loaded nearly nothing is garbage, and to look for it takes a tenth of the time:
# `chronos.apps` has it looked for more often.
gc.set_threshold(1_000_000)

import atexit
import os
from pathlib import Path
from typing import Any

import dj_database_url
import dj_email_url
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from chronos.broker import broker_settings
from chronos.embedded.folders import data_folder
from chronos.environment import read_environment

# Taking an app apart takes half as long as loading it: at the end that is left to the kernel.
atexit.register(gc.freeze)

BASE_DIR = Path(__file__).resolve().parent.parent
environment = read_environment()
DATA_DIR = data_folder(environment.chronos_data_dir)

DEBUG = environment.django_debug
ALLOWED_HOSTS = environment.allowed_hosts
if DEBUG and ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "DJANGO_ALLOWED_HOSTS makes this a public deployment, and DJANGO_DEBUG would show its "
        "settings and code to anyone who hits an error. Unset one of them."
    )
if environment.django_secret_key is not None:
    SECRET_KEY = environment.django_secret_key.get_secret_value()
elif ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "DJANGO_ALLOWED_HOSTS makes this a public deployment, and DJANGO_SECRET_KEY is not set. "
        "Set it to 50 or more random characters."
    )
else:
    # Only this machine can reach it. `up` keeps a key of its own in the data folder.
    SECRET_KEY = get_random_secret_key()
LOCAL = not ALLOWED_HOSTS
if LOCAL:
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_dramatiq",
    "videos",
    "chronos",  # The last: it ends the loading.
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "chronos.urls"
WSGI_APPLICATION = "chronos.wsgi.application"
ASGI_APPLICATION = "chronos.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Without a URL there is no server yet: manage.py starts one and sets the variable. Commands
# that need no database get an address where none listens.
DATABASES = {
    "default": dj_database_url.parse(
        environment.database_url or "postgresql://chronos@127.0.0.1:1/chronos",
        conn_max_age=60,
        conn_health_checks=True,
    )
}
# A server whose machine is gone says nothing: without these, a worker would wait for it for hours.
# What the URL says goes first.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
} | DATABASES["default"].get("OPTIONS", {})
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DRAMATIQ_BROKER = broker_settings(environment)
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "videos:library"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = "UTC"
USE_TZ = True

if environment.email_url is not None:
    globals().update(dj_email_url.parse(environment.email_url.get_secret_value()))

STATIC_URL = "static/"
# On one machine the files are served from where they are.
STATIC_ROOT = None if LOCAL else DATA_DIR / "static"
WHITENOISE_USE_FINDERS = LOCAL
MEDIA_ROOT = DATA_DIR / "media"
MEDIA_URL = "media/"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if environment.aws_storage_bucket_name:
    # The other AWS_… variables are read from the environment by django-storages and boto3.
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": environment.aws_storage_bucket_name,
            "endpoint_url": os.environ.get("AWS_S3_ENDPOINT_URL") or None,
            "file_overwrite": False,
            # What is read is kept on disk beyond this; the default keeps all of it in memory.
            "max_memory_size": 16 * 1024**2,
        },
    }
# Uploads go to disk at once, however large, where somebody may upload; elsewhere bodies are small.
FILE_UPLOAD_HANDLERS = ["chronos.uploads.PermittedUploadHandler"]

SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
if not LOCAL:
    SECURE_SSL_REDIRECT = True
    # Whoever looks after the process asks it directly, by HTTP.
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]
    SECURE_HSTS_SECONDS = 31_536_000
    if environment.django_trust_forwarded_proto:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    if environment.django_hsts_preload:
        SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    else:
        # Whether all other hosts of the domain serve HTTPS is not ours to say.
        SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{levelname}{name}{message}",
            "style": "{",
            "timestamp": True,
        },
    },
    "filters": {
        # Dramatiq's word on each run that waits, tries again or fails, of which `videos` tells.
        "news": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: record.msg != "Message %s was skipped.",
        }
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": environment.chronos_log_format,
            "filters": ["news"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"videos": {"level": "INFO"}, "chronos": {"level": "INFO"}},
}

CHRONOS_TRANSCRIPTION_BASE_URL, CHRONOS_TRANSCRIPTION_API_KEY = environment.service("transcription")
CHRONOS_TRANSCRIPTION_MODEL = environment.transcription_model
CHRONOS_EMBEDDING_BASE_URL, CHRONOS_EMBEDDING_API_KEY = environment.service("embedding")
CHRONOS_EMBEDDING_MODEL = environment.embedding_model
CHRONOS_EMBEDDING_DIMENSIONS = environment.embedding_dimensions
CHRONOS_EMBEDDING_MAX_INPUTS = environment.chronos_embedding_max_inputs
CHRONOS_CREATOR_CONCURRENCY = environment.chronos_creator_concurrency
CHRONOS_CREATOR_STARTS_PER_MINUTE = environment.chronos_creator_starts_per_minute
CHRONOS_BULK_CONCURRENCY = environment.chronos_bulk_concurrency
CHRONOS_PARTS_IN_FLIGHT = environment.chronos_parts_in_flight
CHRONOS_UPLOAD_CODEC = environment.chronos_upload_codec
CHRONOS_TRANSCRIPTION_REQUESTS_PER_MINUTE = environment.chronos_transcription_requests_per_minute
CHRONOS_TRANSCRIPTION_TOKENS_PER_MINUTE = environment.chronos_transcription_tokens_per_minute
CHRONOS_EMBEDDING_REQUESTS_PER_MINUTE = environment.chronos_embedding_requests_per_minute
CHRONOS_EMBEDDING_TOKENS_PER_MINUTE = environment.chronos_embedding_tokens_per_minute
CHRONOS_MAX_UPLOAD_BYTES = environment.chronos_max_upload_bytes
CHRONOS_MAX_DURATION_S = environment.chronos_max_duration_s
CHRONOS_PRICES = environment.chronos_prices
CHRONOS_LIMITS = environment.chronos_limits
CHRONOS_SIMILARITY_FLOORS = environment.chronos_similarity_floors
CHRONOS_TRANSCRIBER = environment.chronos_transcriber
CHRONOS_EMBEDDER = environment.chronos_embedder
CHRONOS_VISIBLE_VIDEOS = environment.chronos_visible_videos
CHRONOS_EDIT_POLICY = environment.chronos_edit_policy
CHRONOS_UPLOAD_POLICY = environment.chronos_upload_policy
CHRONOS_OPERATOR_POLICY = environment.chronos_operator_policy
CHRONOS_CREATOR_QUOTA_BYTES = environment.chronos_creator_quota_bytes
CHRONOS_UPLOAD_RETENTION_S = environment.chronos_upload_retention_s
CHRONOS_WEBHOOK_PRIVATE_ADDRESSES = environment.chronos_webhook_private_addresses
CHRONOS_CHAT_BASE_URL = environment.chronos_chat_base_url
CHRONOS_CHAT_API_KEY = environment.secret("chronos_chat_api_key")
CHRONOS_CHAT_MODEL = environment.chronos_chat_model
CHRONOS_CHAT_QUESTIONS_PER_HOUR = environment.chronos_chat_questions_per_hour
CHRONOS_RERANK_BASE_URL = environment.chronos_rerank_base_url
CHRONOS_RERANK_API_KEY = environment.secret("chronos_rerank_api_key")
CHRONOS_RERANK_MODEL = environment.chronos_rerank_model
CHRONOS_ADMIN_API_KEY = environment.secret("openai_admin_key")
CHRONOS_DRAIN_S = environment.chronos_drain_s
CHRONOS_KEEP_RUNS_DAYS = environment.chronos_keep_runs_days
CHRONOS_KEEP_CALLS_DAYS = environment.chronos_keep_calls_days
CHRONOS_KEEP_AUDIO_DAYS = environment.chronos_keep_audio_days
CHRONOS_KEEP_FORMER_VECTORS_DAYS = environment.chronos_keep_former_vectors_days
CHRONOS_RELEASE = environment.chronos_release
CHRONOS_METRICS_TOKEN = environment.secret("chronos_metrics_token") or ""
CHRONOS_SITE_URL = environment.chronos_site_url or ""
CHRONOS_FFMPEG = environment.chronos_ffmpeg
CHRONOS_LISTENING = environment.chronos_listening
CHRONOS_ALIGNMENT_MODEL = environment.chronos_alignment_model

if environment.sentry_dsn is not None:
    from chronos.error_reports import report_errors

    report_errors(environment.sentry_dsn.get_secret_value(), [*environment.secrets(), SECRET_KEY])
