"""The settings of the `videos` app: all under one prefix, typed, read lazily.

Every field is the Django setting `CHRONOS_<FIELD IN CAPITALS>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

GIB = 1024**3


@dataclass(frozen=True)
class Conf:
    """What the app can be told, with its defaults."""

    transcription_base_url: str | None = None
    transcription_api_key: str | None = field(default=None, repr=False)
    transcription_model: str = "whisper-1"
    embedding_base_url: str | None = None
    embedding_api_key: str | None = field(default=None, repr=False)
    embedding_model: str = "text-embedding-3-small"
    embedding_dimensions: int = 1536
    #: Cosine similarities by embedding model, below which nothing in a text is meant by a query:
    #: measured by `evaluate_search`, on questions without an answer. Others have no such floor.
    similarity_floors: dict[str, float] = field(
        default_factory=lambda: {"chronos-local-embed": 0.45}
    )
    #: The service that makes chapters and answers questions; without a model there is none.
    chat_base_url: str | None = None
    chat_api_key: str | None = field(default=None, repr=False)
    chat_model: str = ""
    #: Questions of one user in any hour; 0 means no limit.
    chat_questions_per_hour: int = 60
    #: The service that orders what a search has found once more; without a model there is none.
    rerank_base_url: str | None = None
    rerank_api_key: str | None = field(default=None, repr=False)
    rerank_model: str = ""
    #: A key of OpenAI's administration, by which `reconcile` asks what the services have counted.
    admin_api_key: str | None = field(default=None, repr=False)
    #: Dotted paths of the classes that call the services (`videos.ai.providers`).
    transcriber: str = "videos.ai.transcription.OpenAITranscriber"
    embedder: str = "videos.ai.embedding.OpenAIEmbedder"
    #: Texts in one request. A server that refuses so many is asked for fewer, and that remembered.
    embedding_max_inputs: int = 2_048
    #: Running runs of one creator; 0 means no limit.
    creator_concurrency: int = 10
    #: Runs of one creator released in any 60 seconds; 0 means no limit.
    creator_starts_per_minute: int = 10
    #: Runs on the queue `bulk` at once, for all creators together.
    bulk_concurrency: int = 4
    #: Transcription calls side by side for one video.
    parts_in_flight: int = 16
    #: How parts are sent: "flac", or "opus" where bytes are dearer than CPU time.
    upload_codec: str = "flac"
    max_upload_bytes: int = 20 * GIB
    max_duration_s: int = 12 * 3600
    #: Dotted path of the access policy: a callable from a user to a queryset of videos.
    visible_videos: str = "videos.access.own_videos"
    #: The same for the videos that a user may change: titles, transcripts, files, deletion.
    edit_policy: str = "videos.access.own_videos"
    #: Dotted path of what tells whether a user may upload: a callable from a user to a bool.
    upload_policy: str = "videos.access.signed_in"
    #: Dotted path of what tells whose work an operator sees in the admin: a callable from a user
    #: to a queryset of creators, or to None for the whole site.
    operator_policy: str = "videos.access.whole_site"
    #: Bytes of all files of one creator, half-done uploads included; 0 means no limit.
    creator_quota_bytes: int = 0
    #: Seconds without a new piece after which a half-done upload is forgotten.
    upload_retention_s: float = 7 * 86_400.0
    #: Days that completed runs, their steps and events are kept, and calls (of which the sums of
    #: months stay); 0 means for ever.
    keep_runs_days: int = 90
    keep_calls_days: int = 400
    #: Days that a completed video's stored audio is kept, and, after a change of the embedding
    #: model, the vectors of the one before; 0 means for ever.
    keep_audio_days: int = 90
    keep_former_vectors_days: int = 30
    #: What is deployed, such as a version or a commit: shown beside the workers that run it.
    release: str = ""
    #: Whether webhooks may be told by http, on this machine and in private networks.
    webhook_private_addresses: bool = False
    #: What Prometheus sends to read `/metrics`; without one, who asks from a private address may.
    metrics_token: str = field(default="", repr=False)
    #: How links in emails begin, such as "https://videos.example"; without it, none are sent.
    site_url: str = ""
    #: Prices beside the built-in ones: {model: {"minute": USD, "million_tokens": USD,
    #: "call": USD}}, or a list of such, each "from" a day, such as "2027-01-01".
    prices: dict[str, Any] = field(default_factory=dict)
    #: Whether workers listen beside the service, where faster-whisper is installed: words without
    #: times are aligned with the audio, and doubtful text is compared with where there is a voice.
    listening: bool = True
    #: Folder of the Whisper model (CTranslate2) that aligns; none means the one that is installed.
    alignment_model: str | None = None
    #: Path of the ffmpeg program; none means the one of the imageio-ffmpeg package.
    ffmpeg: str | None = None
    #: Seconds that a claim lasts without a heartbeat, and between two heartbeats.
    lease_s: float = 8.0
    heartbeat_s: float = 2.0
    #: Seconds that a worker which was asked to end waits for its calls in flight.
    drain_s: float = 30.0
    #: Seconds between two looks of a worker for work that got stuck.
    sweep_s: float = 1.0
    #: Seconds until a failed step is tried again; doubled each time up to the cap.
    retry_backoff_s: float = 1.0
    retry_backoff_cap_s: float = 60.0
    #: Seconds until a run that found the worker's disk full looks again.
    disk_wait_s: float = 60.0
    #: Calls in any 60 seconds, all processes together; 0 means no limit.
    transcription_requests_per_minute: int = 0
    embedding_requests_per_minute: int = 0
    #: Tokens of the calls of any 60 seconds; 0 means no limit.
    transcription_tokens_per_minute: int = 0
    embedding_tokens_per_minute: int = 0
    #: The same for services that a project adds: {name: {"requests_per_minute",
    #: "tokens_per_minute"}}.
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Failures of a service in a row, after which no call is sent for a while.
    breaker_failures: int = 5
    #: Seconds that the breaker stays open the first time; doubled each time up to the cap.
    breaker_open_s: float = 5.0
    breaker_open_cap_s: float = 60.0
    #: Seconds that an outage may last in which no run is to blame. After it, what still gets a 5xx
    #: spends retries, and fails: it may be the input that the service cannot take.
    breaker_patience_s: float = 6 * 3600.0
    #: Seconds without bytes from a service before the call counts as failed.
    service_timeout_s: float = 300.0
    #: Seconds for a whole call, however its bytes arrive.
    service_deadline_s: float = 900.0


@cache
def conf() -> Conf:
    """Return the settings in force; tests that override a setting get a fresh one."""
    given: dict[str, Any] = {
        entry.name: getattr(settings, f"CHRONOS_{entry.name.upper()}")
        for entry in fields(Conf)
        if hasattr(settings, f"CHRONOS_{entry.name.upper()}")
    }
    return Conf(**given)


def _forget(*, setting: str, **_: object) -> None:
    if setting.startswith("CHRONOS_"):
        conf.cache_clear()


setting_changed.connect(_forget, dispatch_uid="videos.conf")
