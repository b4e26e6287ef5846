"""What a stranger, a page or a report must not get: disk, keys, settings, files."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time

import psycopg
import pytest
import sentry_sdk
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from sentry_sdk.transport import Transport

from chronos import uploads
from chronos.embedded.folders import socket_folder
from chronos.error_reports import report_errors
from tests import services
from tests.conftest import PROJECT
from tests.environment import clean
from videos.conf import Conf
from videos.models import Video

# Settings of a public deployment

PUBLIC = {
    "CHRONOS_ENV_FILE": os.devnull,
    "DATABASE_URL": "postgresql://chronos:db-password@127.0.0.1:1/chronos",
    "REDIS_URL": "redis://:redis-password@127.0.0.1:1/0",
    "DJANGO_ALLOWED_HOSTS": "chronos.example",
    "DJANGO_SECRET_KEY": "k" * 60,
    "OPENAI_API_KEY": "sk-of-the-operator",
}
ASK = """
import json
from django.conf import settings
names = ("ALLOWED_HOSTS", "DEBUG", "LOCAL", "SECURE_PROXY_SSL_HEADER", "SECURE_HSTS_PRELOAD",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_SSL_REDIRECT")
print(json.dumps({name: getattr(settings, name, None) for name in names}))
"""


def ask_settings(**environment):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=PROJECT,
        env=clean(dict(os.environ))
        | PUBLIC
        | {"DJANGO_SETTINGS_MODULE": "chronos.settings"}
        | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_debugging_in_public_refuses_to_start():
    assert "DJANGO_DEBUG" in ask_settings(DJANGO_DEBUG="true")
    assert ask_settings(DJANGO_DEBUG="true", DJANGO_ALLOWED_HOSTS="")["DEBUG"] is True


@pytest.mark.parametrize("hosts", [" , ", ",", " "])
def test_hosts_of_nothing_are_none(hosts):
    found = ask_settings(DJANGO_ALLOWED_HOSTS=hosts)

    assert found["LOCAL"] is True
    assert "" not in found["ALLOWED_HOSTS"]


def test_proxies_and_preload_lists_are_trusted_when_asked_for():
    silent = ask_settings()
    asked = ask_settings(DJANGO_TRUST_FORWARDED_PROTO="true", DJANGO_HSTS_PRELOAD="true")

    assert silent["SECURE_SSL_REDIRECT"] is True
    assert not silent["SECURE_PROXY_SSL_HEADER"]
    assert not silent["SECURE_HSTS_PRELOAD"]
    assert not silent["SECURE_HSTS_INCLUDE_SUBDOMAINS"]
    assert asked["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]
    assert asked["SECURE_HSTS_PRELOAD"] is True


# Reports of errors

KEY = "sk-secret-0123456789"


def test_settings_do_not_show_their_keys():
    shown = repr(Conf(transcription_api_key=KEY, embedding_api_key=KEY))

    assert KEY not in shown


def test_no_report_has_a_key_in_it():
    sent = []

    class Kept(Transport):
        def capture_envelope(self, envelope):
            sent.append(envelope)

    report_errors("https://public@sentry.example/1", [KEY], transport=Kept)

    def fail(settings, api_key):
        headers = {"Authorization": f"Bearer {api_key}"}
        sentry_sdk.add_breadcrumb(message=f"asked with {api_key}", data={"url": f"/?k={api_key}"})
        sentry_sdk.set_context("request", {"headers": headers, KEY: [api_key]})
        raise RuntimeError(f"refused: {api_key}")

    try:
        fail(Conf(transcription_api_key=KEY), KEY)
    except RuntimeError as error:
        sentry_sdk.capture_exception(error)
    sentry_sdk.flush()
    sentry_sdk.get_client().close()
    sentry_sdk.init()

    assert sent
    body = b"".join(envelope.serialize() for envelope in sent)
    assert b"refused" in body
    assert KEY.encode() not in body


# Bodies

ADD = "admin:videos_video_add"


@pytest.fixture
def small(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000


def post(client, url, size):
    file = SimpleUploadedFile("x.mp4", b"x" * size)
    return client.post(url, {"file": file, "title": "t"})


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["nobody", "creator", "superuser"])
@pytest.mark.parametrize("page", ["admin:login", ADD, "admin:videos_run_changelist"])
def test_large_bodies_are_for_those_who_may_upload_where_they_may(
    creator, admin_user, small, monkeypatch, who, page
):
    written = []
    monkeypatch.setattr(
        uploads.PermittedUploadHandler, "receive_data_chunk", lambda *_: written.append(1)
    )
    client = Client(enforce_csrf_checks=True)
    if who != "nobody":
        client.force_login(creator if who == "creator" else admin_user)

    client.cookies["csrftoken"] = "a" * 32  # Without one, Django reads no body.

    answer = post(client, reverse(page), 50_000)

    may_upload = who == "superuser" and page == ADD
    assert bool(written) is may_upload
    # Without a token, nobody gets further.
    assert answer.status_code == (403 if may_upload else 400)


@pytest.mark.django_db
def test_what_fits_is_uploaded_and_the_limit_holds_for_operators_too(
    admin_client, admin_user, small, settings
):
    settings.CHRONOS_MAX_UPLOAD_BYTES = 100_000
    settings.CHRONOS_CREATOR_CONCURRENCY = 0
    file = SimpleUploadedFile("x.mp4", b"x" * 50_000)

    done = admin_client.post(reverse(ADD), {"creator": admin_user.pk, "file": file, "title": "t"})

    assert done.status_code == 302
    assert Video.objects.get().file.size == 50_000
    assert post(admin_client, reverse(ADD), 2_000_000).status_code == 400


@pytest.mark.django_db
def test_a_body_for_no_page_is_small(rf, admin_user, small):
    request = rf.post("/nowhere/")
    request.user = admin_user

    assert uploads.max_body_bytes(request) == 10_000
    handler = uploads.PermittedUploadHandler(request)
    with pytest.raises(RequestDataTooBig):
        handler.handle_raw_input(None, {}, 10_001, b"")


@pytest.mark.django_db(transaction=True)
def test_the_web_server_keeps_no_body_of_a_stranger_on_disk(tmp_path):
    """Real HTTP: a body that never ends, of which the first megabytes are sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spool = tmp_path / "spool"
    spool.mkdir()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            f"--bind=127.0.0.1:{port}",
            "--threads=2",
            "chronos.wsgi:application",
        ],
        cwd=PROJECT,
        env=os.environ | {"TMPDIR": str(spool), "DJANGO_SETTINGS_MODULE": "chronos.settings"},
        stderr=subprocess.DEVNULL,
    )
    try:
        answer, most = _post_endlessly(port, spool)
    finally:
        server.terminate()
        server.wait(20)

    assert answer in (400, None)  # Answered at once, or hung up on.
    assert most < 1_000_000


def _post_endlessly(port, spool):
    """Return the answer's status, and the most bytes that lay on disk meanwhile."""
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.connect()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    connection.putrequest("POST", "/admin/login/")
    connection.putheader("Cookie", f"csrftoken={'a' * 32}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(600 * 1024**2))
    connection.endheaders()
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    most = 0
    try:
        connection.send(head)
        for _ in range(64):
            connection.send(b"x" * 65_536)
            most = max(most, sum(path.stat().st_size for path in spool.rglob("*")))
        return connection.getresponse().status, most
    except (ConnectionError, TimeoutError):
        return None, most
    finally:
        connection.close()


# The embedded servers


def test_the_embedded_postgres_gives_its_user_no_files_of_the_machine():
    url = services.held.services["postgres"]["url"]
    with psycopg.connect(url, autocommit=True) as connection:
        (is_superuser,) = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert is_superuser is False
        for statement in (
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO '/tmp/chronos-should-not-be'",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's has any capability")
def test_the_embedded_postgres_of_root_keeps_no_right_to_write_others_files():
    from chronos.embedded.client import status

    pid = status()["services"]["postgres"]["pid"]
    with open(f"/proc/{pid}/status") as lines:
        effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))

    dac_override, dac_read_search = 1 << 1, 1 << 2
    assert effective & dac_override == 0
    assert effective == dac_read_search


def test_the_embedded_redis_wants_its_password():
    import redis

    url = services.held.services["redis"]["url"]
    path = redis.Redis.from_url(url).connection_pool.connection_kwargs["path"]

    with pytest.raises(redis.AuthenticationError):
        redis.Redis(unix_socket_path=path).ping()
    assert redis.Redis.from_url(url).ping()


@pytest.mark.parametrize("odd", [",", '"', "'", "\n", ";", "\\", "=", "&", "?", "#", ":", "ü,"])
def test_sockets_lie_where_no_path_needs_an_escape(short_path, odd):
    folder = socket_folder(short_path / f"a{odd}b")

    assert odd not in str(folder)
    assert socket_folder(short_path / "plain name") == short_path / "plain name" / "run"


@pytest.mark.processes
def test_the_services_start_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "a, b'c\"d ü %41"
    environment = clean(dict(os.environ)) | {
        "CHRONOS_DATA_DIR": str(folder),
        "CHRONOS_ENV_FILE": os.devnull,
    }

    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "postgres" / "PG_VERSION").exists()
