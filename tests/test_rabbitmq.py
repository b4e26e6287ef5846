"""The pipeline over Debian's RabbitMQ in place of Redis."""

import json
import os
import shutil
import socket
import subprocess
import sys

import dramatiq
import pytest

from tests.conftest import PROJECT, eventually, worker_environment

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.processes,
    pytest.mark.skipif(not os.access(SERVER, os.X_OK), reason="no rabbitmq-server here"),
]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


@pytest.fixture
def broker_url(tmp_path):
    """A server whose files, ports and names are the test's own."""
    port, names_port = free_port(), free_port()
    environment = os.environ | {
        "HOME": str(tmp_path),
        "ERL_EPMD_PORT": names_port,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"chronos{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_MNESIA_BASE": str(tmp_path / "mnesia"),
        "RABBITMQ_LOG_BASE": str(tmp_path / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(tmp_path / "plugins"),
    }
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    names = subprocess.Popen([shutil.which("epmd") or "epmd", "-port", names_port], **quiet)
    server = subprocess.Popen([SERVER], start_new_session=True, **quiet)
    try:
        eventually(lambda: listens(port), timeout_s=60)
        yield f"amqp://guest:guest@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
        names.terminate()
        names.wait()


def test_a_video_is_completed_over_rabbitmq(broker_url, creator, clip, worker_process, monkeypatch):
    monkeypatch.setenv("BROKER_URL", broker_url)
    worker_process()
    command = [sys.executable, "manage.py", "ingest", str(clip), "--creator", creator.username]
    ingested = subprocess.run(
        [*command, "--wait", "--json"],
        cwd=PROJECT,
        env=worker_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ingested.returncode == 0, ingested.stderr
    assert [video["status"] for video in json.loads(ingested.stdout)["videos"]] == ["completed"]
    assert dramatiq.get_broker().client.dbsize() == 0
