"""The embedded services: shared, independent, and gone when nobody uses them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests.conftest import PROJECT, eventually
from tests.environment import clean

pytestmark = pytest.mark.processes


def environment(data):
    return clean(dict(os.environ)) | {
        "CHRONOS_DATA_DIR": str(data),
        "CHRONOS_ENV_FILE": os.devnull,
        "OPENAI_API_KEY": "no AI server is needed here",
    }


def run(data, *arguments):
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def services(data, action):
    return json.loads(run(data, "services", action, "--json"))


def processes_of(data):
    """The command lines in which the data folder is named, by process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in line:
            found[int(entry.name)] = line
    return found


def process_of(data, name):
    (pid,) = [pid for pid, line in processes_of(data).items() if name in line]
    return pid


@pytest.fixture
def data(short_path):
    folder = short_path / "data"
    yield folder
    if folder.exists():
        services(folder, "stop")
    assert eventually(lambda: not processes_of(folder))


def test_services_start_answer_and_stop(data):
    started = services(data, "start")

    with psycopg.connect(started["postgres"]["url"]) as connection:
        version = (
            "SELECT string_to_array(default_version, '.')::int[] >= '{0,8}' "
            "FROM pg_available_extensions WHERE name = 'vector'"
        )
        assert connection.execute(version).fetchone() == (True,)
    client = redis.Redis.from_url(started["redis"]["url"])
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    client.close()
    assert services(data, "status") == started
    password = started["postgres"]["url"].split(":")[2].split("@")[0]
    assert password not in run(data, "services", "status")
    assert password in run(data, "services", "status", "--show-secrets")
    assert services(data, "stop")["postgres"] == {"url": None, "running": False}
    eventually(lambda: not processes_of(data))


def test_a_command_leaves_nothing_behind(data):
    run(data, "showmigrations", "videos")

    eventually(lambda: not processes_of(data), timeout_s=5)


def test_commands_at_once_start_one_of_each(data):
    commands = [
        subprocess.Popen(
            [sys.executable, "manage.py", "services", "start"],
            cwd=PROJECT,
            env=environment(data),
            stdout=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]

    assert [command.wait(120) for command in commands] == [0, 0, 0]
    log = (data / "logs" / "postgres.log").read_text()
    assert log.count("database system is ready") == 1
    assert "lock file" not in log


def test_two_data_folders_are_two_instances(data, tmp_path):
    other = tmp_path / "other"

    first, second = services(data, "start"), services(other, "start")

    assert first["postgres"]["url"] != second["postgres"]["url"]
    services(other, "stop")
    psycopg.connect(first["postgres"]["url"]).close()


def test_a_crash_of_all_of_it_does_not_block_the_next_start(data):
    services(data, "start")
    with psycopg.connect(services(data, "status")["postgres"]["url"], autocommit=True) as database:
        database.execute("CREATE TABLE kept (id int)")
    for pid in processes_of(data):
        os.kill(pid, signal.SIGKILL)

    started = services(data, "start")

    with psycopg.connect(started["postgres"]["url"]) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_killed_keeper_takes_its_services_with_it(data):
    services(data, "start")
    pid = process_of(data, "embedded.keeper")

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: not processes_of(data))


def test_a_killed_command_lets_the_services_go(data):
    command = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-c", "import time; print('up'); time.sleep(60)"],
        cwd=PROJECT,
        env=environment(data) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
    )
    assert command.stdout
    while b"up" not in command.stdout.readline():
        pass

    command.kill()
    command.wait()
    command.stdout.close()

    eventually(lambda: not processes_of(data))


def test_a_server_that_dies_is_started_again(data):
    started = services(data, "start")
    server = process_of(data, "redis-server")
    os.kill(server, signal.SIGKILL)

    def answers():
        client = redis.Redis.from_url(started["redis"]["url"])
        try:
            return client.ping()
        except redis.ConnectionError:
            return False
        finally:
            client.close()

    assert eventually(lambda: not Path(f"/proc/{server}/cwd").exists() and answers())


def test_a_path_too_long_for_a_socket_works(tmp_path):
    data = tmp_path / ("long" * 25)

    run(data, "showmigrations", "videos")

    assert not (data / "run").exists()
    eventually(lambda: not processes_of(data))


def test_folders_above_the_data_stay_closed(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    run(closed / "data", "showmigrations", "videos")

    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "data").stat().st_mode & 0o777 == 0o700
