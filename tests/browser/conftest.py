"""A web server of the site, and a Chromium that is signed in to it."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from urllib.error import URLError

import pytest
from playwright.sync_api import sync_playwright

from tests.conftest import PROJECT, eventually, worker_environment


class Site:
    """A web server of the site in a process of its own, on one port however often it is started."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        environment = worker_environment() | {
            "DJANGO_SECRET_KEY": "tests" * 10,
            # So that there is a page to ask on; nobody asks it here.
            **{"CHRONOS_CHAT_MODEL": "chat", "CHRONOS_CHAT_API_KEY": "sk-tests"},
        }
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{self.port}"),
                *("--threads=8", "--log-level=error", "chronos.wsgi:application"),
            ],
            env=environment,
            cwd=PROJECT,
            start_new_session=True,
        )
        eventually(self._answers)

    def _answers(self):
        try:
            urllib.request.urlopen(f"{self.address}/login/", timeout=5).close()
        except (URLError, OSError):
            return False
        return True

    def kill(self):
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@pytest.fixture
def site(transactional_db):
    site = Site()
    try:
        site.start()
        yield site
    finally:
        site.kill()


@pytest.fixture(scope="module")
def chromium():
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    # Playwright runs an event loop in this thread, which Django takes for an asynchronous caller.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        yield lambda: playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def sign_in(chromium, site, creator):
    browsers = []

    def open_page(**options):
        browser = chromium()
        browsers.append(browser)
        page = browser.new_context(base_url=site.address, **options).new_page()
        page.goto("/login/")
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "ada's password")
        page.click("main button")
        page.wait_for_url(site.address + "/")
        return page

    yield open_page
    for browser in browsers:
        browser.close()
