"""An S3 server in a process of its own, and a line to it that can break."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import boto3

BUCKET = "videos"
KEYS = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}


class S3Server:
    """moto's server on a loopback port, with one bucket."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await_answer()
        self.client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", **KEYS
        )
        self.client.create_bucket(Bucket=BUCKET)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the S3 server did not start")

    def keys(self) -> list[str]:
        """The names of all objects."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [entry["Key"] for entry in listed]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class BreakingLine:
    """Forwards to a port; breaks the answers off that are longer than `cut_after` bytes."""

    def __init__(self, port: int) -> None:
        self.cut_after = 0
        self.broken = 0
        line = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as server:
                    asked = threading.Thread(
                        target=_forward, args=[self.request, server], daemon=True
                    )
                    asked.start()
                    # Either end may hang up: this is a line that breaks.
                    with suppress(OSError):
                        line._answer(server, self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, server: socket.socket, client: Any) -> None:
        passed = 0
        while data := server.recv(16_384):
            passed += len(data)
            if self.cut_after and passed > self.cut_after:
                self.cut_after = 0
                self.broken += 1
                break
            client.sendall(data)
        for each in (server, client):
            each.shutdown(socket.SHUT_RDWR)


def _forward(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(16_384):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # The line was broken, as it was meant to.
