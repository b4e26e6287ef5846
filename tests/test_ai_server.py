"""The local AI server speaks OpenAI's API, and refuses what it does not know."""

import base64
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from uuid6 import uuid7

from chronos.embedded import speech_models
from tests.conftest import PROJECT
from tests.media import run_ffmpeg
from videos.ai.capabilities import WHISPER
from videos.ai.transcription import OpenAITranscriber, Request
from videos.audio.ffmpeg import ffmpeg_path
from videos.exceptions import Misconfigured

KEY = "the key of this server"
MODEL = "chronos-local-stt"


@contextmanager
def served(data, model_folder):
    """A client of a server with that model."""
    listener = socket.create_server(("127.0.0.1", 0))
    key = data / "ai.key"
    key.write_text(KEY)
    arguments = [listener.fileno(), key, model_folder, MODEL]
    process = subprocess.Popen(
        [sys.executable, "-m", "chronos.embedded.ai_server", *map(str, arguments)],
        cwd=PROJECT,
        pass_fds=[listener.fileno()],
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        yield client
    process.terminate()
    process.wait(20)
    listener.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with served(tmp_path_factory.mktemp("data"), speech_models.find("", PROJECT)) as client:
        yield client


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """The first seven seconds of the sample."""
    path = tmp_path_factory.mktemp("speech") / "speech.mp3"
    sample = PROJECT / "sample" / "lecture.mp4"
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", sample, "-t", "7", "-vn", path], check=True)
    return path


def test_speech_becomes_words_with_times(api, speech):
    recognized = api.audio.transcriptions.create(
        file=speech,
        model=MODEL,
        response_format="verbose_json",
        timestamp_granularities=["segment", "word"],
    )

    assert recognized.text.startswith(
        "Welcome to this short lecture. The first topic is how plants"
    )
    assert recognized.language == "english"
    assert [word.word for word in recognized.words][:3] == ["Welcome", "to", "this"]
    assert next(word.start for word in recognized.words if word.word == "The") == pytest.approx(
        3.1, abs=0.4
    )
    assert recognized.duration == pytest.approx(7, abs=0.1)
    first = recognized.segments[0]
    assert first.avg_logprob > -0.5 and first.no_speech_prob < 0.5 and first.compression_ratio > 0


def test_speech_is_transcribed_to_its_end(api, speech, tmp_path):
    cut = tmp_path / "cut.wav"
    run_ffmpeg("-i", speech, "-ac", 1, "-t", 2.25, cut)

    recognized = api.audio.transcriptions.create(file=cut, model=MODEL)

    assert recognized.text.rstrip(".").endswith("lecture")


@pytest.mark.parametrize(
    "sound",
    [
        "anullsrc",
        "anoisesrc=color=brown:amplitude=0.3",
        "anoisesrc=color=pink:amplitude=0.05",
        "sine=220,tremolo=5",
        "sine=330:beep_factor=3",
    ],
)
def test_nothing_said_stays_nothing_said(api, tmp_path, sound):
    path = tmp_path / "sound.wav"
    run_ffmpeg("-f", "lavfi", "-i", sound, "-t", 40, "-ar", 16_000, "-ac", 1, path)

    recognized = api.audio.transcriptions.create(
        file=path, model=MODEL, response_format="verbose_json"
    )

    assert recognized.text == ""
    assert recognized.segments == []


def test_a_client_that_hangs_up_is_not_worked_for(api, speech, tmp_path):
    long = tmp_path / "long.mp3"
    run_ffmpeg("-stream_loop", 120, "-i", speech, "-c", "copy", long)
    with pytest.raises(openai.APITimeoutError):
        api.with_options(timeout=2).audio.transcriptions.create(file=long, model=MODEL)

    begun = time.monotonic()
    api.audio.transcriptions.create(file=speech, model=MODEL)

    assert time.monotonic() - begun < 15  # A quarter of an hour of speech takes a minute.


@pytest.mark.parametrize("form", ["json", "text"])
def test_plain_answers(api, speech, form):
    answer = api.audio.transcriptions.create(file=speech, model=MODEL, response_format=form)

    assert "short lecture" in (answer if form == "text" else answer.text)


def test_vectors_tell_what_is_alike(api):
    texts = ["plants make sugar from light", "photosynthesis in leaves", "bank interest"]

    rows = api.embeddings.create(model="chronos-local-embed", input=texts).data

    plants, leaves, bank = (np.array(row.embedding) for row in rows)
    assert len(plants) == 256
    assert np.linalg.norm(plants) == pytest.approx(1, abs=1e-5)
    assert plants @ leaves > plants @ bank


def test_floats_base64_and_shorter_vectors_agree(api):
    create = api.embeddings.with_raw_response.create
    asked = {"model": "chronos-local-embed", "input": "a text", "dimensions": 64}

    floats = create(**asked, encoding_format="float").http_response.json()
    packed = create(**asked, encoding_format="base64").http_response.json()

    unpacked = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert np.allclose(unpacked, floats["data"][0]["embedding"])
    assert len(unpacked) == 64
    assert floats["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"model": "text-embedding-3-small", "input": "x"}, openai.NotFoundError),
        ({"model": "chronos-local-embed", "input": ""}, openai.BadRequestError),
        ({"model": "chronos-local-embed", "input": []}, openai.BadRequestError),
        ({"model": "chronos-local-embed", "input": "x", "dimensions": 512}, openai.BadRequestError),
    ],
)
def test_wrong_embedding_requests_are_refused(api, asked, error):
    with pytest.raises(error):
        api.embeddings.create(**asked)


@pytest.mark.parametrize("body", [b"[]", b"3", b"{"])
def test_a_body_that_is_no_object_is_refused(api, body):
    with pytest.raises(openai.BadRequestError, match="The body"):
        api.post("/embeddings", cast_to=object, content=body)


def test_wrong_transcription_requests_are_refused(api, speech, tmp_path):
    create = api.audio.transcriptions.create
    with pytest.raises(openai.NotFoundError):
        create(file=speech, model="whisper-1")
    with pytest.raises(openai.BadRequestError, match="CHRONOS_LOCAL_STT_MODEL"):
        create(file=speech, model=MODEL, language="de")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        create(file=speech, model=MODEL, temperature=7)
    broken = tmp_path / "broken.mp3"
    broken.write_text("no audio")
    with pytest.raises(openai.BadRequestError):
        create(file=broken, model=MODEL)


def test_the_models_are_listed(api):
    assert {model.id for model in api.models.list()} == {
        "chronos-local-stt",
        "chronos-local-embed",
    }


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 200, None),
        ({"Authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"Authorization": ""}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer \u00fc"}, 401, "invalid_api_key"),
        ({"Origin": "https://evil.example"}, 403, "origin"),
        ({"Origin": "null"}, 403, "origin"),
        # A name of an attacker's that resolves to loopback.
        ({"Host": "evil.example"}, 403, "host"),
    ],
)
def test_nobody_is_answered_but_who_shows_the_key(api, headers, status, code):
    address = urlsplit(str(api.base_url))
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    sent = {"Authorization": f"Bearer {KEY}"} | headers
    connection.request("GET", "/v1/models", headers={k: v.encode() for k, v in sent.items()})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()

    assert answer.status == status
    assert (body["error"]["code"] if code else None) == code


def test_a_model_that_cannot_be_loaded_is_the_operators_to_correct(tmp_path, speech, settings):
    """Its files are there, and damaged: the server lives, and says so instead of dying of it."""
    broken = tmp_path / "model"
    shutil.copytree(speech_models.find("", PROJECT), broken)
    (broken / "model.bin").write_bytes(b"no model" * 1_000)

    with served(tmp_path, broken) as client:
        assert client.embeddings.create(model="chronos-local-embed", input="still here").data
        settings.CHRONOS_TRANSCRIPTION_BASE_URL = str(client.base_url)
        settings.CHRONOS_TRANSCRIPTION_API_KEY = KEY
        with closing(OpenAITranscriber()) as transcriber, pytest.raises(Misconfigured) as raised:
            transcriber.transcribe(
                _flac(speech, tmp_path),
                request=Request(WHISPER),
                duration_s=7.0,
                model=MODEL,
                call_id=uuid7(),
                within_s=60,
            )

    assert "CHRONOS_LOCAL_STT_MODEL" in str(raised.value)
    assert "OPENAI" not in str(raised.value)


def _flac(speech, folder):
    path = folder / "speech.flac"
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", speech, path], check=True)
    return path
