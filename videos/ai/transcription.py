"""Speech to text, by any server that speaks OpenAI's `POST /v1/audio/transcriptions`."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from videos.ai import capabilities, openai_client
from videos.ai.capabilities import Capability
from videos.audio import confidence
from videos.audio.stitching import RecognizedSegment, Word
from videos.conf import conf
from videos.exceptions import AbsurdResponse, BadResponse
from videos.text import languages
from videos.text.storable import without_control

#: Whisper's own limits for a segment to be doubted (openai/whisper, transcribe.py).
_MAX_NO_SPEECH = 0.6
_MIN_LOGPROB = -1.0
_MAX_COMPRESSION = 2.4
#: Beyond these nobody need look whether there is a voice: real speech mostly is (docs/figures.md).
_SURE_LOGPROB = -0.5
_SURE_NO_SPEECH = 0.5

#: Whisper looks at no more than 224 tokens of a prompt (OpenAI's guide to speech to text), the
#: last ones; a token is about four bytes.
_MAX_PROMPT_BYTES = 800
_CONTENT_TYPES = {".flac": "audio/flac", ".ogg": "audio/ogg"}
#: Audio models count about 10 tokens a second, and speech has fewer than 20.
_MAX_TOKENS_PER_S = 100
#: A word may begin this much before its segment does: services round both.
_WORD_SLACK_S = 0.05


@dataclass(frozen=True)
class Recognized:
    """What a service recognized in one upload; times are seconds on the upload's clock."""

    segments: list[RecognizedSegment]
    language: str = ""
    audio_seconds: float = 0.0
    tokens: int = 0
    #: Whether the service itself gave the times.
    is_timed: bool = True

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of the answer."""
        return {"audio_seconds": self.audio_seconds, "tokens": self.tokens}


@dataclass(frozen=True)
class Request:
    """What a model is told beside the audio."""

    capability: Capability
    #: ISO 639-1; empty: to be detected.
    language: str = ""
    #: A sentence or two in the style of the recordings.
    prompt: str = ""
    #: Names and words as they are spelled, the rarest first.
    glossary: Sequence[str] = ()
    #: Whether the text of a first call is doubtful. This one goes without prompt and glossary:
    #: Whisper may take its text from there.
    is_second_pass: bool = False


class OpenAITranscriber:
    """Any server that speaks OpenAI's `POST /v1/audio/transcriptions`."""

    #: USD, as published: platform.openai.com/docs/pricing.
    prices: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "whisper-1": {"minute": 0.006},
        "gpt-4o-transcribe": {"minute": 0.006},
        "gpt-4o-transcribe-diarize": {"minute": 0.006},
        "gpt-4o-mini-transcribe": {"minute": 0.003},
        "gpt-4o-mini-transcribe-2025-12-15": {"minute": 0.003},
        "gpt-transcribe": {"minute": 0.0045},
    }

    def __init__(self) -> None:
        settings = conf()
        self._where = (settings.transcription_base_url, settings.transcription_api_key)
        self._api = openai_client.client(*self._where)

    @staticmethod
    def capability(model: str) -> Capability | None:
        """Return what a model can do, or None where only a call can tell."""
        return capabilities.known(model)

    def transcribe(
        self,
        path: Path,
        *,
        request: Request,
        duration_s: float,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Recognized:
        """Send one upload and return what was recognized; see `providers.Transcriber`.

        Raises:
            ServiceFault, ConfigurationFault: as `openai_client` translates the service's errors.
        """
        deadline = time.monotonic() + within_s
        body: Any = None
        try:
            with (
                path.open("rb") as audio,
                openai_client.translated("transcription", *self._where),
                self._api.audio.transcriptions.with_streaming_response.create(
                    file=(path.name, audio, _CONTENT_TYPES[path.suffix]),
                    model=model,
                    extra_headers=openai_client.request_id(call_id),
                    **parameters(request),
                ) as response,
            ):
                body = openai_client.read_json(response, "transcription", deadline)
            return read_answer(body, duration_s)
        except BadResponse as error:
            error.measured = _measured(body, duration_s)
            raise

    def close(self) -> None:
        """End the calls that are under way."""
        self._api.close()


def parameters(request: Request) -> dict[str, Any]:
    """Return the parameters of OpenAI's API beside file and model."""
    capability = request.capability
    asked: dict[str, Any] = {"response_format": capability.response_format}
    asked |= capability.always
    if capability.granularities:
        asked["timestamp_granularities"] = list(capability.granularities)
    if request.language:
        asked["language"] = request.language
    if request.is_second_pass:
        return {**asked, **capability.second_pass}
    glossary = request.glossary if capability.glossary else ()
    if glossary and capability.glossary == "keywords":
        asked["keywords"] = list(glossary)
        glossary = ()
    written = _prompt(request.prompt, glossary)
    if written and capability.prompt:
        asked["prompt"] = written
    return asked


def _prompt(prompt: str, glossary: Sequence[str]) -> str:
    """Return the prompt with as many terms as the model looks at, the first ones first."""
    written = prompt.encode()[:_MAX_PROMPT_BYTES].decode(errors="ignore").strip()
    for number, term in enumerate(glossary):
        longer = f"{written}{', ' if number else ' ' if written else ''}{term}"
        if len(longer.encode()) > _MAX_PROMPT_BYTES:
            break
        written = longer
    return written


def read_answer(body: Any, duration_s: float) -> Recognized:
    """Check an answer of the service, and return it as ours.

    Raises:
        BadResponse: if it is not what the API promises.
    """
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise BadResponse("The transcription service's answer has no text.")
    listed = body.get("segments")
    if listed:
        if not isinstance(listed, list):
            raise BadResponse("The transcription service's segments are not a list.")
        timed = sorted(
            map(_segment, _with_ends(listed, duration_s)), key=lambda segment: segment.start
        )
        segments = _with_words(timed, _words(body.get("words")))
    else:
        segments = [RecognizedSegment(0.0, duration_s, without_control(body["text"]))]
    return Recognized(
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


def _with_words(segments: list[RecognizedSegment], words: list[Word]) -> list[RecognizedSegment]:
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


def _segment(entry: Any) -> RecognizedSegment:
    try:
        start, end, text = float(entry["start"]), float(entry["end"]), entry["text"]
    except OverflowError:
        raise AbsurdResponse("A segment of the transcription has impossible times.") from None
    except (KeyError, TypeError, ValueError):
        raise BadResponse("A segment of the transcription has no start, end or text.") from None
    if not (openai_client.is_number(start) and openai_client.is_number(end)):
        raise AbsurdResponse("A segment of the transcription has impossible times.")
    if not isinstance(text, str):
        raise BadResponse("A segment of the transcription has a text that is not a string.")
    speaker = entry.get("speaker")
    return RecognizedSegment(
        start,
        end,
        without_control(text),
        speaker=without_control(speaker)[:100] if isinstance(speaker, str) else "",
        doubt=confidence.UNSURE if _is_unsure(entry) else "",
        vouched=_is_sure(entry),
    )


def _is_unsure(entry: dict[str, Any]) -> bool:
    silent = _number(entry.get("no_speech_prob")) > _MAX_NO_SPEECH
    unsure = _number(entry.get("avg_logprob")) < _MIN_LOGPROB
    # It counts bytes, of which a letter of other scripts has up to four.
    text = entry["text"]
    limit = _MAX_COMPRESSION * len(text.encode(errors="replace")) / max(len(text), 1)
    return (silent and unsure) or _number(entry.get("compression_ratio")) > limit


def _is_sure(entry: dict[str, Any]) -> bool:
    """Whether the service itself says that this was said, and that it was speech."""
    probability, silent = entry.get("avg_logprob"), entry.get("no_speech_prob")
    if not (openai_client.is_number(probability) and openai_client.is_number(silent)):
        return False
    return probability > _SURE_LOGPROB and silent < _SURE_NO_SPEECH


def _number(value: Any) -> float:
    return float(value) if openai_client.is_number(value) else 0.0


def _first(listed: Any) -> Any:
    """Return the code of the first language that gpt-transcribe recognized."""
    first = listed[0] if isinstance(listed, list) and listed else None
    return first.get("code") if isinstance(first, dict) else None
