"""What docs/extending.md promises to other code is there."""

import re
from importlib import import_module

import pytest

from tests.conftest import PROJECT

DOCUMENTED = (PROJECT / "docs" / "extending.md").read_text()
TABLE = re.findall(r"^\| `(videos[\w.]*)` \| (.*) \|$", DOCUMENTED, re.MULTILINE)
NAMES = [(module, name) for module, names in TABLE for name in re.findall(r"`(\w+)`", names)]

#: What the other modules of `videos` are named like from outside: by settings, and in shells.
PATHS = [
    "videos.access.own_videos",
    "videos.ai.transcription.OpenAITranscriber",
    "videos.ai.embedding.OpenAIEmbedder",
    "videos.brokers.WakingRedisBroker",
    "videos.middleware.Durability",
    "videos.actors.transcribe_video",
    "videos.actors.chunk_transcript",
    "videos.actors.embed_chunks",
    "videos.actors.finish_video",
    "videos.apps.VideosConfig",
    "videos.documents.video_document",
    "videos.playback.stream",
    "videos.conf.conf",
]


def test_the_table_is_read():
    assert len(TABLE) == 17
    assert len(NAMES) > 40


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_is_there_and_documented(module, name):
    found = getattr(import_module(module), name)

    assert callable(found) is False or found.__doc__


@pytest.mark.parametrize("path", PATHS)
def test_every_path_that_others_name_stays(path):
    module, _, name = path.rpartition(".")

    assert hasattr(import_module(module), name)
