"""Speech to text, by any server that speaks OpenAI's `POST /v1/audio/transcriptions`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import openai
from django.conf.locale import LANG_INFO

from videos import services
from videos.conf import conf
from videos.exceptions import BadResponse
from videos.stitching import HeardSegment

#: Whisper's own limits for a segment to be doubted (openai/whisper, transcribe.py).
_MOST_NO_SPEECH = 0.6
_LEAST_LOGPROB = -1.0
_MOST_COMPRESSION = 2.4

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LANGUAGE_CODES = {info["name"].lower(): code for code, info in LANG_INFO.items() if "name" in info}


@dataclass(frozen=True)
class Capability:
    """What a transcription model can do."""

    #: Whether it returns segments with times.
    timed: bool = True
    #: The longest audio of one call, in milliseconds; None means our own limit.
    longest_ms: int | None = None


#: A model without times gets short clips, cut in pauses: their bounds are the times.
_TEXT_ONLY = Capability(timed=False, longest_ms=30_000)
_CAPABILITIES = {
    "gpt-4o-transcribe": _TEXT_ONLY,
    "gpt-4o-mini-transcribe": _TEXT_ONLY,
    "gpt-transcribe": _TEXT_ONLY,
}


@dataclass(frozen=True)
class Heard:
    """What a service heard in one part; times are seconds on the part's clock."""

    segments: list[HeardSegment]
    language: str = ""
    audio_seconds: float = 0.0
    tokens: int = 0


def capability(model: str) -> Capability:
    """Return what a model can do; unknown ones are taken for whisper-like."""
    return _CAPABILITIES.get(model, Capability())


def client() -> openai.OpenAI:
    """Return a client of the transcription service."""
    return services.client(conf().transcription_base_url, conf().transcription_api_key)


def transcribe(
    api: openai.OpenAI,
    path: Path,
    *,
    model: str,
    language: str,
    duration_s: float,
    call_id: UUID,
) -> Heard:
    """Send one part and return what was heard; the service can be asked about `call_id`.

    Raises:
        ServiceFault, ConfigurationFault: as `services` translates the service's errors.
    """
    settings = conf()
    timed = capability(model).timed
    asked: dict[str, Any] = {"response_format": "verbose_json" if timed else "json"}
    if timed:
        asked["timestamp_granularities"] = ["segment"]
    if language:
        asked["language"] = language
    with (
        path.open("rb") as audio,
        services.translated(
            "transcription",
            settings.transcription_base_url,
            settings.transcription_api_key,
        ),
    ):
        answer = api.audio.transcriptions.with_raw_response.create(
            file=(path.name, audio, "audio/flac"),
            model=model,
            extra_headers=services.request_id(call_id),
            **asked,
        )
        body = answer.http_response.json()
    return read_answer(body, duration_s)


def read_answer(body: Any, duration_s: float) -> Heard:
    """Check an answer of the service, and return it as ours.

    Raises:
        BadResponse: if it is not what the API promises.
    """
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise BadResponse("The transcription service's answer has no text.")
    listed = body.get("segments")
    if listed:
        if not isinstance(listed, list):
            raise BadResponse("The transcription service's segments are no list.")
        segments = [_segment(entry) for entry in listed]
    else:
        segments = [HeardSegment(0.0, duration_s, _clean(body["text"]))]
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Heard(
        segments=[segment for segment in segments if segment.text.strip()],
        language=_language(body.get("language")),
        audio_seconds=_number(usage.get("seconds"), body.get("duration"), duration_s),
        tokens=int(_number(usage.get("total_tokens"), 0)),
    )


def _segment(entry: Any) -> HeardSegment:
    try:
        start, end, text = float(entry["start"]), float(entry["end"]), entry["text"]
    except (KeyError, TypeError, ValueError):
        raise BadResponse("A segment of the transcription has no start, end or text.") from None
    if not (math.isfinite(start) and math.isfinite(end) and isinstance(text, str)):
        raise BadResponse("A segment of the transcription has times that are no numbers.")
    speaker = entry.get("speaker")
    return HeardSegment(
        start,
        end,
        _clean(text),
        speaker=_clean(speaker)[:100] if isinstance(speaker, str) else "",
        suspicious=_is_suspicious(entry),
    )


def _is_suspicious(entry: dict[str, Any]) -> bool:
    silent = _number(entry.get("no_speech_prob"), 0) > _MOST_NO_SPEECH
    unsure = _number(entry.get("avg_logprob"), 0) < _LEAST_LOGPROB
    return (silent and unsure) or _number(entry.get("compression_ratio"), 0) > _MOST_COMPRESSION


def _number(*values: Any) -> float:
    """Return the first value that is a finite number, else 0."""
    for value in values:
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    return 0.0


def _language(value: Any) -> str:
    """Return the ISO 639-1 code; whisper-1 names the language in English."""
    if not isinstance(value, str):
        return ""
    return _LANGUAGE_CODES.get(value.lower(), value.lower())[:16]


def _clean(text: str) -> str:
    """Drop what Postgres and captions cannot hold."""
    return _CONTROL.sub("", text)
