"""A server that speaks Cohere's `POST /rerank`, in a thread."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-rerank-tests"
MODEL = "rerank-tests"


class RerankServer:
    """Has the longest text first; `answer`, if given, is sent instead, with `status`."""

    def __init__(self) -> None:
        server = self
        self.answer: Any = None
        self.status = 200
        self.asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v2/rerank"
                assert self.headers["Authorization"] == f"Bearer {KEY}"
                server.asked.append(body)
                lengths = [len(text) for text in body["documents"]]
                best_first = sorted(range(len(lengths)), key=lambda at: -lengths[at])
                right = {
                    "results": [
                        {"index": at, "relevance_score": lengths[at] / 1_000} for at in best_first
                    ]
                }
                sent = json.dumps(right if server.answer is None else server.answer).encode()
                self.send_response(server.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v2"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
