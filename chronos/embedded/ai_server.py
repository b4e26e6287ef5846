"""A small AI server that speaks OpenAI's HTTP API and really computes its answers.

Speech by Whisper (`recognizer`), static word embeddings by WordLlama (`embedder`). Prices 0,
loopback only, and only for who knows the key of its data folder: any page in a browser can send
requests to loopback. Work for a client that has hung up is ended.

    POST /v1/audio/transcriptions   file, model, language, prompt, temperature, response_format,
                                    timestamp_granularities
    POST /v1/embeddings             input, model, encoding_format, dimensions
    GET  /v1/models
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import logging
import os
import signal
import socket
import tempfile
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import django
import numpy as np
import waitress
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from chronos.embedded import embedder
from chronos.embedded.client import LOCAL_DIMENSIONS, LOCAL_EMBEDDING_MODEL
from chronos.embedded.recognizer import Recognition, Recognizer
from videos.audio import ffmpeg
from videos.audio.decoding import decode
from videos.audio.parts import SAMPLE_RATE
from videos.exceptions import ChronosError
from videos.text import languages

logger = logging.getLogger(__name__)

_MAX_UPLOAD_BYTES = 26_214_400
_MAX_INPUTS = 2_048
_DECODE_CPU_S = 600


class BadRequest(Exception):
    """Raised when a request is not one of the API's; becomes its error JSON."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _answering_errors(view: Any) -> Any:
    def answer(request: HttpRequest) -> HttpResponse:
        try:
            response: HttpResponse = view(request)
        except BadRequest as error:
            return _error(str(error), error.status, error.code)
        except ChronosError as error:
            return _error(str(error), 400, error.code)
        return response

    return answer


def _error(message: str, status: int, code: str | None) -> JsonResponse:
    body = {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": code,
    }
    return JsonResponse({"error": body}, status=status)


def only_with_key(get_response: Any) -> Any:
    """Answer nobody but programs that show the key: no browser's page, no other host's name."""
    key = _arguments().key_file.read_text()

    def answer(request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            return _error("This server answers on loopback only.", 403, "host")
        if "Origin" in request.headers:
            return _error("This server answers no web pages.", 403, "origin")
        shown = request.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {key}".encode()):
            return _error(
                "The key of this server is wrong. It is in the file ai.key of CHRONOS_DATA_DIR, "
                "and printed by: manage.py services status --json",
                401,
                "invalid_api_key",
            )
        response: HttpResponse = get_response(request)
        return response

    return answer


@require_GET
def models(_: HttpRequest) -> HttpResponse:
    """List the two models."""
    names = (_arguments().model_name, LOCAL_EMBEDDING_MODEL)
    listed = [{"id": name, "object": "model", "owned_by": "chronos"} for name in names]
    return JsonResponse({"object": "list", "data": listed})


@require_POST
@_answering_errors
def transcriptions(request: HttpRequest) -> HttpResponse:
    """Recognize an uploaded audio file."""
    _check_model(request.POST.get("model"), _arguments().model_name)
    upload = request.FILES.get("file")
    if upload is None:
        raise BadRequest("There is no file in the request.")
    if (upload.size or 0) > _MAX_UPLOAD_BYTES:
        raise BadRequest("The file is larger than 25 MB.", status=413)
    response_format = request.POST.get("response_format", "json")
    if response_format not in ("json", "text", "verbose_json"):
        raise BadRequest(f"response_format {response_format!r} must be json, text or verbose_json.")
    language = request.POST.get("language", "")
    if language and not _recognizer().knows(language):
        raise BadRequest(
            f"{_arguments().model_name} does not know the language {language!r}. Set "
            "CHRONOS_LOCAL_STT_MODEL to a model of many languages, such as small, end what still "
            "runs with this one (manage.py services stop), and reprocess the video.",
            code="misconfigured",
        )
    with tempfile.NamedTemporaryFile() as copy:
        for block in upload.chunks():
            copy.write(block)
        copy.flush()
        samples = _decode(Path(copy.name))
    recognized = _recognizer().recognize(
        samples,
        language=language,
        prompt=request.POST.get("prompt", ""),
        temperature=_temperature(request.POST.get("temperature") or "0"),
        check=partial(_check_client, request),
    )
    if response_format == "text":
        return HttpResponse(recognized.text + "\n", content_type="text/plain; charset=utf-8")
    seconds = len(samples) / SAMPLE_RATE
    body: dict[str, Any] = {
        "text": recognized.text,
        "usage": {"type": "duration", "seconds": round(seconds, 3)},
    }
    if response_format == "verbose_json":
        granularities = request.POST.getlist("timestamp_granularities[]") or ["segment"]
        body |= {"duration": seconds} | _with_times(recognized, granularities)
    return JsonResponse(body)


def _with_times(recognized: Recognition, granularities: list[str]) -> dict[str, Any]:
    """Return what `verbose_json` has besides: the language, words and segments as asked for."""
    said: dict[str, Any] = {
        "task": "transcribe",
        "language": languages.name_of(recognized.language),
    }
    if "word" in granularities:
        said["words"] = [
            {"word": word.word.strip(), "start": float(word.start), "end": float(word.end)}
            for segment in recognized.segments
            for word in segment.words
        ]
    if "segment" in granularities:
        said["segments"] = [_segment(segment) for segment in recognized.segments]
    return said


def _segment(segment: Any) -> dict[str, Any]:
    """Return a segment as OpenAI's API has it, with what the model says of its own doubts."""
    return {
        "id": segment.id,
        "seek": segment.seek,
        "start": round(float(segment.start), 3),
        "end": round(float(segment.end), 3),
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature,
        "avg_logprob": float(segment.avg_logprob),
        "compression_ratio": float(segment.compression_ratio),
        "no_speech_prob": float(segment.no_speech_prob),
    }


def _temperature(given: str) -> float:
    try:
        temperature = float(given)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 1:
        raise BadRequest(f"temperature must be a number from 0 to 1, not {given!r}.")
    return temperature


def _check_client(request: HttpRequest) -> None:
    """Give up what nobody waits for any more.

    Raises:
        BadRequest: if the client has hung up.
    """
    if request.META["waitress.client_disconnected"]():
        raise BadRequest("The client has hung up.", status=499)


@require_POST
@_answering_errors
def embeddings(request: HttpRequest) -> HttpResponse:
    """Embed one text or many."""
    try:
        asked = json.loads(request.body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(asked, dict):
        raise BadRequest("The body must be a JSON object.")
    _check_model(asked.get("model"), LOCAL_EMBEDDING_MODEL)
    texts = asked.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not 0 < len(texts) <= _MAX_INPUTS:
        raise BadRequest(f"input must be a text or a list of 1 to {_MAX_INPUTS} texts.")
    if not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("Every input must be a text that is not empty.")
    dimensions = asked.get("dimensions") or LOCAL_DIMENSIONS
    if not isinstance(dimensions, int) or not 0 < dimensions <= LOCAL_DIMENSIONS:
        raise BadRequest(f"dimensions must be a number from 1 to {LOCAL_DIMENSIONS}.")
    as_base64 = asked.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.tobytes()).decode()
            if as_base64
            else vector.tolist(),
        }
        for index, vector in enumerate(embedder.embed(texts, dimensions))
    ]
    tokens = embedder.count_tokens(texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JsonResponse(
        {"object": "list", "data": data, "model": LOCAL_EMBEDDING_MODEL, "usage": usage}
    )


def _check_model(model: object, known: str) -> None:
    if model != known:
        raise BadRequest(
            f"The model {model!r} does not exist here; this server has {known}. To use another, "
            "name its server or set OPENAI_API_KEY. After a change of CHRONOS_LOCAL_STT_MODEL, end "
            "what still runs with the old one (manage.py services stop). Then reprocess the video.",
            status=404,
            code="misconfigured",
        )


def _decode(path: Path) -> Any:
    tracks = ffmpeg.probe(path).choose("").used
    with decode(path, _DECODE_CPU_S, *tracks) as decoding:
        blocks = list(decoding.blocks())
    return np.concatenate(blocks) if blocks else np.empty(0, np.int16)


@cache
def _recognizer() -> Recognizer:
    """Return the loaded model.

    Raises:
        BadRequest: if it cannot be loaded; the server lives on, and says so to whoever asks.
    """
    folder = _arguments().model_folder
    try:
        return Recognizer(folder)
    except Exception as error:  # Whatever CTranslate2 finds wrong with a model's files.
        logger.exception("The model in %s cannot be loaded.", folder)
        raise BadRequest(
            f"The model in {folder} cannot be loaded: {error}. Correct CHRONOS_LOCAL_STT_MODEL, "
            "end what still runs with this one (manage.py services stop), and reprocess the video.",
            status=503,
            code="misconfigured",
        ) from None


urlpatterns = [
    path("v1/models", models),
    path("v1/audio/transcriptions", transcriptions),
    path("v1/embeddings", embeddings),
]


@cache
def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptor", type=int, help="of the socket to listen on")
    parser.add_argument("key_file", type=Path, help="whose content is the key of the server")
    parser.add_argument("model_folder", type=Path, help="of the model that recognizes speech")
    parser.add_argument("model_name", help="by which it is offered")
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        MIDDLEWARE=[f"{__name__}.only_with_key"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=_MAX_UPLOAD_BYTES,
        LOGGING_CONFIG=None,
    )
    django.setup()
    with suppress(BadRequest):
        _recognizer()
    embedder.load()
    signal.signal(signal.SIGTERM, _end)
    waitress.serve(
        get_wsgi_application(),
        sockets=[socket.socket(fileno=_arguments().descriptor)],
        threads=16,
        max_request_body_size=2 * _MAX_UPLOAD_BYTES,
        # Reading on while it works is how it learns that a client has hung up.
        channel_request_lookahead=1,
        ident="chronos-local",
    )


def _end(*_: object) -> NoReturn:
    """End at once: what is being computed is of no use to anybody any more."""
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
