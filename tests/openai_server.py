"""An HTTP server that speaks OpenAI's API, records the calls and injects faults."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

SEGMENT_S = 4.0
SURE = {"avg_logprob": -0.2, "no_speech_prob": 0.01}


@dataclass
class Recorded:
    """One request, as it arrived."""

    path: str
    model: str
    inputs: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    #: All values of the parameters that are lists, such as "keywords[]".
    lists: dict[str, list[str]] = field(default_factory=dict)
    audio: bytes = b""
    status: int = 0
    #: The id of the ledger's row, as the client names it.
    id: str = ""


@dataclass
class Fault:
    """An answer that is not the right one; `times` of them, then all is well."""

    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    times: int = 1
    delay_s: float = 0.0
    cut_off: bool = False
    #: Seconds between any two bytes of the answer.
    drip_s: float = 0.0


#: Start and end in seconds, text.
Timed = tuple[float, float, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet about clients that hang up, as those that are killed or cancelled do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class OpenAIServer:
    """Real HTTP on a loopback port; transcripts and vectors depend on the input alone."""

    key = "sk-tests-0123456789"
    admin_key = "sk-admin-tests-0123456789"
    #: What each model may be asked for; the last three are of servers that no table lists.
    formats = {
        "whisper-1": ("json", "verbose_json"),
        "gpt-4o-transcribe": ("json",),
        "gpt-transcribe": ("json",),
        "gpt-4o-transcribe-diarize": ("json", "diarized_json"),
        "with-words": ("json", "verbose_json"),
        "without-words": ("json", "verbose_json"),
        "text-only": ("json",),
    }
    models = (*formats, "text-embedding-3-small", "other-embed")

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.calls: list[Recorded] = []
        self.faults: list[Fault] = []
        self.hear: Callable[[float], list[Timed]] = hear_numbers
        #: What it says of each segment, as Whisper does.
        self.confidence = dict(SURE)
        #: More texts than the first number in one request are refused with the second.
        self.refuses_more_than: tuple[int, int] | None = None
        #: Hears words in samples of a rate, in place of `hear`, which makes up segments.
        self.listen: Callable[[Any, int], list[Timed]] | None = None
        #: What its API of usage says of each of so many pages: {kind: {model: {"calls", "seconds",
        #: "tokens"}}}.
        self.counted: dict[str, dict[str, dict[str, int]]] = {}
        self.counted_pages = 1
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        self.calls, self.faults, self.hear, self.listen = [], [], hear_numbers, None
        self.confidence, self.refuses_more_than = dict(SURE), None
        self.counted, self.counted_pages = {}, 1
        self.gate.set()

    def transcribed(self) -> list[Recorded]:
        return [call for call in self.calls if call.path.endswith("/transcriptions")]

    def embedded(self) -> list[Recorded]:
        return [call for call in self.calls if call.path.endswith("/embeddings")]

    def take_fault(self, call: Recorded) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.path in call.path and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def get(self, path: str, key: str) -> tuple[int, dict[str, Any]]:
        """Answer `GET /models`, and what `usage` answers."""
        if not path.endswith("/models"):
            return self.usage(path, key)
        if key != f"Bearer {self.key}":
            return 401, {"error": {"message": "Incorrect API key provided"}}
        return 200, {"object": "list", "data": [{"id": name} for name in self.models]}

    def usage(self, path: str, key: str) -> tuple[int, dict[str, Any]]:
        """Answer as `GET /organization/usage/…` does."""
        if key != f"Bearer {self.admin_key}":
            return 401, {"error": {"message": f"Incorrect API key provided: {key}"}}
        address = urlsplit(path)
        asked = parse_qs(address.query)
        kind = address.path.rsplit("/", 1)[-1]
        assert asked["group_by[]"] == ["model"], asked
        page = int(asked.get("page", ["1"])[0])
        results = [
            {
                "object": f"organization.usage.{kind}.result",
                "model": model,
                "num_model_requests": row["calls"],
                **(
                    {"seconds": row["seconds"]}
                    if kind == "audio_transcriptions"
                    else {"input_tokens": row["tokens"]}
                ),
            }
            for model, row in self.counted.get(kind, {}).items()
        ]
        has_more = page < self.counted_pages
        start = int(asked["start_time"][0])
        bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400}
        return 200, {
            "object": "page",
            "data": [bucket | {"results": results}],
            "has_more": has_more,
            "next_page": str(page + 1) if has_more else None,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                status, answer = owner.get(self.path, self.headers["Authorization"])
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorded = _parse(self.path, self.headers["Content-Type"], body)
                recorded.id = self.headers["X-Client-Request-Id"] or ""
                owner.calls.append(recorded)
                status, answer, headers, fault = owner.answer(recorded, self.headers)
                recorded.status = status
                data = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if fault.cut_off:
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                if fault.drip_s:
                    for at in range(len(data)):
                        self.wfile.write(data[at : at + 1])
                        time.sleep(fault.drip_s)
                    return
                self.wfile.write(data)

        return Handler

    def answer(self, call: Recorded, headers: Any) -> tuple[int, Any, dict[str, str], Fault]:
        self.gate.wait(30)
        well = Fault(status=200)
        if headers["Authorization"] != f"Bearer {self.key}":
            return 401, _error(f"Incorrect API key: {headers['Authorization']}"), {}, well
        if call.model not in self.models:
            return 404, _error(f"no model {call.model}", "model_not_found"), {}, well
        asked = call.fields.get("response_format")
        if call.audio and asked not in self.formats[call.model]:
            return 400, _error(f"response_format {asked} is not compatible"), {}, well
        if self.refuses_more_than and len(call.inputs) > self.refuses_more_than[0]:
            return self.refuses_more_than[1], _error("batch size too large"), {}, well
        fault = self.take_fault(call)
        if fault is not None:
            time.sleep(fault.delay_s)
            if not fault.cut_off and fault.status != 200:
                return fault.status, fault.body or _error("injected"), fault.headers, well
            if fault.body is not None:
                return fault.status, fault.body, fault.headers, fault
        right = self._heard(call) if call.audio else self._embedded(call)
        return 200, right, {}, fault or well

    def _heard(self, call: Recorded) -> dict[str, Any]:
        samples, rate = soundfile.read(io.BytesIO(call.audio))
        seconds = len(samples) / rate
        if self.listen is not None:
            words = self.listen(samples, rate)
            spoken = [words[at : at + 8] for at in range(0, len(words), 8)]
        else:
            spoken = [split_words(segment) for segment in self.hear(seconds)]
            words = [word for said in spoken for word in said]
        segments = [
            {
                "id": number,
                "start": said[0][0],
                "end": said[-1][1],
                "text": " " + " ".join(word for _, _, word in said),
                **({} if call.model.endswith("-diarize") else self.confidence),
            }
            for number, said in enumerate(spoken)
        ]
        text = "".join(segment["text"] for segment in segments).strip()
        answer = {"text": text, "usage": {"type": "duration", "seconds": round(seconds)}}
        asked = call.fields.get("response_format")
        if asked == "json":
            return answer
        answer |= {"language": "english", "duration": seconds, "segments": segments}
        if asked == "diarized_json":
            for segment in segments:
                segment["speaker"] = "AB"[segment["id"] % 2]
        elif call.model != "without-words" and "word" in call.lists["timestamp_granularities[]"]:
            answer["words"] = [
                {"start": start, "end": end, "word": word} for start, end, word in words
            ]
        return answer

    def _embedded(self, call: Recorded) -> dict[str, Any]:
        dimensions = int(call.fields.get("dimensions", self.dimensions))
        data = []
        for index, text in enumerate(call.inputs):
            vector = embed_words(text, dimensions)
            as_base64 = call.fields.get("encoding_format") == "base64"
            encoded = base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": encoded})
        tokens = sum(len(text.split()) for text in call.inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": call.model, "data": data, "usage": usage}


def hear_numbers(seconds: float) -> list[tuple[float, float, str]]:
    """Hear a sentence every four seconds."""
    count = max(1, int(seconds // SEGMENT_S))
    return [
        (n * SEGMENT_S, min((n + 1) * SEGMENT_S, seconds), f"This is sentence number {n}.")
        for n in range(count)
    ]


def split_words(segment: Timed) -> list[Timed]:
    """Give each word of a segment an equal share of its time."""
    start, end, text = segment
    words = text.split()
    share = (end - start) / max(len(words), 1)
    return [(start + n * share, start + (n + 1) * share, word) for n, word in enumerate(words)]


def embed_words(text: str, dimensions: int) -> Any:
    """Return the sum of a fixed random direction for each word, of length 1."""
    vector = np.full(dimensions, 1e-3, dtype="<f4")
    for word in re.findall(r"\w+", text.lower()):
        vector += _direction(word, dimensions)
    return (vector / np.linalg.norm(vector)).astype("<f4")


@lru_cache(maxsize=100_000)
def _direction(word: str, dimensions: int) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).standard_normal(dimensions).astype("<f4")


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def _parse(path: str, content_type: str, body: bytes) -> Recorded:
    if content_type.startswith("application/json"):
        asked = json.loads(body)
        inputs = asked.pop("input")
        inputs = [inputs] if isinstance(inputs, str) else inputs
        fields = {name: str(value) for name, value in asked.items()}
        return Recorded(path, asked.get("model", ""), inputs, fields)
    header = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser().parsebytes(header + body)
    recorded = Recorded(path, "")
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if name == "file":
            recorded.audio = content
        else:
            recorded.fields[str(name)] = content.decode()
            recorded.lists.setdefault(str(name), []).append(content.decode())
    recorded.model = recorded.fields.get("model", "")
    return recorded
