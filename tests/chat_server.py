"""A server that speaks OpenAI's chat API, in a thread: it answers what a test has it answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-chat-tests"
MODEL = "chat-tests"


class ChatServer:
    """Streams, word by word, what `answer` makes of the messages; `status` other than 200 fails."""

    def __init__(self, answer: Callable[[list[dict[str, str]]], str]) -> None:
        server = self
        self.answer, self.status = answer, 200
        self.asked: list[list[dict[str, str]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/chat/completions"
                assert self.headers["Authorization"] == f"Bearer {KEY}"
                assert body["stream"], body
                server.asked.append(body["messages"])
                self.send_response(server.status)
                if server.status != 200:
                    self.end_headers()
                    return
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for piece in server.answer(body["messages"]).split(" "):
                    self._send({"choices": [{"index": 0, "delta": {"content": f"{piece} "}}]})
                self._send({"choices": [], "usage": {"total_tokens": 123}})
                self.wfile.write(b"data: [DONE]\n\n")

            def _send(self, chunk: dict[str, Any]) -> None:
                whole = {"id": "1", "object": "chat.completion.chunk", "model": MODEL, **chunk}
                self.wfile.write(f"data: {json.dumps(whole)}\n\n".encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
