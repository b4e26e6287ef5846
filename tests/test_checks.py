"""System checks: stable ids, and hints that help."""

import dramatiq
import pytest
from django.core.checks import run_checks
from django.db import connection

from tests.rows import completed_video
from videos import checks
from videos.audio import ffmpeg
from videos.models import ServingModel

pytestmark = pytest.mark.django_db


def ids(*, databases=()):
    return {message.id for message in run_checks(databases=list(databases))}


def test_the_tests_own_configuration_is_sound(creator):
    completed_video(creator)

    assert ids(databases=["default"]) == set()


def test_openai_without_a_key_is_an_error(settings):
    settings.CHRONOS_TRANSCRIPTION_BASE_URL = None
    settings.CHRONOS_TRANSCRIPTION_API_KEY = None
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"

    assert ids() == {"videos.E002"}


def test_an_ffmpeg_that_is_not_there_is_told(settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    settings.CHRONOS_FFMPEG = "/nonexistent/ffmpeg"

    (message,) = run_checks()

    assert (message.id, "/nonexistent/ffmpeg" in message.msg) == ("videos.W004", True)


def test_a_provider_that_cannot_be_imported_is_an_error(settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    settings.CHRONOS_TRANSCRIBER = "tests.extension.dictation.Nobody"

    (message,) = run_checks()

    assert (message.id, "CHRONOS_TRANSCRIBER" in message.msg) == ("videos.E006", True)


def test_a_provider_that_lacks_a_method_is_an_error(settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    settings.CHRONOS_EMBEDDER = "pathlib.Path"

    (message,) = run_checks()

    assert message.msg.endswith("which has no prices, limits, embed, close.")


@pytest.mark.parametrize(
    ("setting", "table"),
    [
        ("CHRONOS_LIMITS", {"chat": 2}),
        ("CHRONOS_LIMITS", {"chat": {"request_per_minute": 2}}),
        ("CHRONOS_PRICES", {"tiny": 0.5}),
        ("CHRONOS_PRICES", {"tiny": {"million_tokens": -1}}),
    ],
)
def test_limits_and_prices_that_mean_nothing_are_errors(settings, setting, table):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    setattr(settings, setting, table)

    assert ids() == {"videos.E007"}


def test_a_provider_of_ones_own_needs_no_key_of_openais(settings):
    settings.CHRONOS_TRANSCRIPTION_BASE_URL = None
    settings.CHRONOS_TRANSCRIPTION_API_KEY = None
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    settings.CHRONOS_TRANSCRIBER = "tests.extension.dictation.Dictation"

    assert "videos.E002" not in ids()


def test_the_end_of_whisper_1_is_announced_with_the_way_out(settings):
    settings.CHRONOS_TRANSCRIPTION_BASE_URL = None

    (message,) = run_checks()

    assert message.id == "videos.W001"
    assert "gpt-transcribe" in message.hint


def test_a_broker_without_our_middleware_is_an_error(monkeypatch):
    monkeypatch.setattr(dramatiq.get_broker(), "middleware", [])

    (message,) = run_checks()

    assert message.id == "videos.E001"
    assert "videos.middleware.Durability" in message.msg


def test_a_kernel_without_network_namespaces_is_told_to_who_deploys(monkeypatch):
    monkeypatch.setattr(ffmpeg, "can_leave_network", lambda: False)

    ours = {message.id for message in run_checks(include_deployment_checks=True)}

    assert "videos.I001" in ours


def test_a_model_that_does_not_serve_yet_is_told(settings, creator):
    completed_video(creator)
    settings.CHRONOS_EMBEDDING_MODEL = "other-embed"

    assert ids(databases=["default"]) == {"videos.W002"}


def test_migrations_that_add_columns_are_not_stopped_by_what_they_add(creator):
    completed_video(creator)
    # `migrate` runs the checks first, on the tables of the release before.
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE videos_servingmodel DROP former_model, DROP former_dimensions, DROP since"
        )

    assert ids(databases=["default"]) == set()


@pytest.mark.usefixtures("without_indexes")
def test_many_vectors_want_an_index(monkeypatch, creator):
    completed_video(creator)
    monkeypatch.setattr(checks, "_INDEX_WORTH_ROWS", -2)

    assert ids(databases=["default"]) == {"videos.W003"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_the_index_that_is_wanted_can_be_built(monkeypatch, creator):
    from django.core.management import call_command

    completed_video(creator)
    monkeypatch.setattr(checks, "_INDEX_WORTH_ROWS", -2)

    call_command("index_embeddings", "--json")

    assert ServingModel.objects.exists()
    assert ids(databases=["default"]) == set()


@pytest.mark.parametrize(
    "setting", ["VISIBLE_VIDEOS", "EDIT_POLICY", "UPLOAD_POLICY", "OPERATOR_POLICY"]
)
def test_a_policy_that_is_not_there_is_an_error(settings, setting):
    setattr(settings, f"CHRONOS_{setting}", "tests.rows.nothing")

    (message,) = run_checks()

    assert (message.id, setting in message.msg) == ("videos.E008", True)
