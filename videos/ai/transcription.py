"""Speech to text, by any server that speaks OpenAI's `POST /v1/audio/transcriptions`."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import openai

from videos.ai import openai_client
from videos.audio import confidence
from videos.audio.stitching import HeardSegment, Word
from videos.conf import conf
from videos.exceptions import AbsurdResponse, BadResponse
from videos.text import languages
from videos.text.storable import without_control

#: Whisper's own limits for a segment to be doubted (openai/whisper, transcribe.py).
_MOST_NO_SPEECH = 0.6
_LEAST_LOGPROB = -1.0
_MOST_COMPRESSION = 2.4
#: Beyond these nobody need look whether there is a voice: real speech mostly is (docs/figures.md).
_SURE_LOGPROB = -0.5
_SURE_NO_SPEECH = 0.5

_CONTENT_TYPES = {".flac": "audio/flac", ".ogg": "audio/ogg"}
#: Audio models count about 10 tokens a second, and speech has fewer than 20.
_MAX_TOKENS_PER_S = 100
#: A word may begin this much before its segment does: services round both.
_WORD_SLACK_S = 0.05


@dataclass(frozen=True)
class Heard:
    """What a service heard in one upload; times are seconds on the upload's clock."""

    segments: list[HeardSegment]
    language: str = ""
    audio_seconds: float = 0.0
    tokens: int = 0
    #: Whether the service itself gave the times.
    is_timed: bool = True

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of the answer."""
        return {"audio_seconds": self.audio_seconds, "tokens": self.tokens}


def client() -> openai.OpenAI:
    """Return a client of the transcription service."""
    return openai_client.client(conf().transcription_base_url, conf().transcription_api_key)


def transcribe(
    api: openai.OpenAI,
    path: Path,
    *,
    model: str,
    parameters: Mapping[str, Any],
    duration_s: float,
    call_id: UUID,
    within_s: float,
) -> Heard:
    """Send one upload and return what was heard; the service can be asked about `call_id`.

    `parameters` are those of the API beside file and model, as `capabilities.asked` says. The
    answer has to be whole after `within_s` seconds.

    Raises:
        ServiceFault, ConfigurationFault: as `openai_client` translates the service's errors.
    """
    settings = conf()
    deadline = time.monotonic() + within_s
    body: Any = None
    try:
        with (
            path.open("rb") as audio,
            openai_client.translated(
                "transcription",
                settings.transcription_base_url,
                settings.transcription_api_key,
            ),
            api.audio.transcriptions.with_streaming_response.create(
                file=(path.name, audio, _CONTENT_TYPES[path.suffix]),
                model=model,
                extra_headers=openai_client.request_id(call_id),
                **parameters,
            ) as response,
        ):
            body = openai_client.read_json(response, "transcription", deadline)
        return read_answer(body, duration_s)
    except BadResponse as error:
        error.measured = _measured(body, duration_s)
        raise


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
        timed = sorted(
            map(_segment, _with_ends(listed, duration_s)), key=lambda segment: segment.start
        )
        segments = _with_words(timed, _words(body.get("words")))
    else:
        segments = [HeardSegment(0.0, duration_s, without_control(body["text"]))]
    return Heard(
        segments=[segment for segment in segments if segment.text.strip()],
        language=languages.code_of(body.get("language") or _first(body.get("languages"))),
        is_timed=bool(listed),
        **_measured(body, duration_s),
    )


def _measured(body: Any, duration_s: float) -> dict[str, Any]:
    """Return what an answer says it used, and no more than what was sent can have used."""
    body = body if isinstance(body, dict) else {}
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    seconds = openai_client.amount(usage.get("seconds"), body.get("duration"), duration_s)
    tokens = openai_client.amount(usage.get("total_tokens"))
    return {
        "audio_seconds": min(seconds, float(math.ceil(duration_s))),
        "tokens": int(min(tokens, math.ceil(duration_s) * _MAX_TOKENS_PER_S)),
    }


def _words(listed: Any) -> list[Word]:
    """Return the words of an answer; the times of words are welcome, not owed."""
    words = []
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict):
            continue
        start, end, text = entry.get("start"), entry.get("end"), entry.get("word")
        if (
            isinstance(text, str)
            and openai_client.is_number(start)
            and openai_client.is_number(end)
        ):
            words.append((float(start), float(end), without_control(text).strip()))
    return words


def _with_words(segments: list[HeardSegment], words: list[Word]) -> list[HeardSegment]:
    """Give each segment the words that begin in it; those between two, to the earlier one."""
    begins = [segment.start for segment in segments]
    held: list[list[Word]] = [[] for _ in segments]
    for word in words:
        held[max(bisect_right(begins, word[0] + _WORD_SLACK_S) - 1, 0)].append(word)
    return [replace(segment, words=its) for segment, its in zip(segments, held, strict=True)]


def _with_ends(listed: list[Any], duration_s: float) -> list[Any]:
    """Give a segment whose end is null, as some servers' last one, the beginning of the next."""
    starts = [entry.get("start") if isinstance(entry, dict) else None for entry in listed[1:]]
    return [
        {**entry, "end": duration_s if following is None else following}
        if isinstance(entry, dict) and entry.get("end") is None
        else entry
        for entry, following in zip(listed, [*starts, None], strict=True)
    ]


def _segment(entry: Any) -> HeardSegment:
    try:
        start, end, text = float(entry["start"]), float(entry["end"]), entry["text"]
    except OverflowError:
        raise AbsurdResponse(
            "A segment of the transcription has times that no recording has."
        ) from None
    except (KeyError, TypeError, ValueError):
        raise BadResponse("A segment of the transcription has no start, end or text.") from None
    if not (openai_client.is_number(start) and openai_client.is_number(end)):
        raise AbsurdResponse("A segment of the transcription has times that no recording has.")
    if not isinstance(text, str):
        raise BadResponse("A segment of the transcription has a text that is none.")
    speaker = entry.get("speaker")
    return HeardSegment(
        start,
        end,
        without_control(text),
        speaker=without_control(speaker)[:100] if isinstance(speaker, str) else "",
        doubt=confidence.UNSURE if _is_unsure(entry) else "",
        vouched=_is_sure(entry),
    )


def _is_unsure(entry: dict[str, Any]) -> bool:
    silent = _number(entry.get("no_speech_prob")) > _MOST_NO_SPEECH
    unsure = _number(entry.get("avg_logprob")) < _LEAST_LOGPROB
    # It counts bytes, of which a letter of other scripts has up to four.
    text = entry["text"]
    most = _MOST_COMPRESSION * len(text.encode(errors="replace")) / max(len(text), 1)
    return (silent and unsure) or _number(entry.get("compression_ratio")) > most


def _is_sure(entry: dict[str, Any]) -> bool:
    """Whether the service itself says that this was said, and that it was speech."""
    probability, silent = entry.get("avg_logprob"), entry.get("no_speech_prob")
    if not (openai_client.is_number(probability) and openai_client.is_number(silent)):
        return False
    return probability > _SURE_LOGPROB and silent < _SURE_NO_SPEECH


def _number(value: Any) -> float:
    return float(value) if openai_client.is_number(value) else 0.0


def _first(listed: Any) -> Any:
    """Return the code of the first language that gpt-transcribe heard."""
    first = listed[0] if isinstance(listed, list) and listed else None
    return first.get("code") if isinstance(first, dict) else None
