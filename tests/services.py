"""An early pytest plugin: real services for the tests, whatever the environment says.

Loaded by `-p` before Django's settings are: Postgres and Redis are the embedded ones, in a
data folder of the session's own; the AI services are a server of the tests' own.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.environment import clean
from tests.openai_server import OpenAIServer

MODELS = {"TRANSCRIPTION_MODEL": "whisper-1", "EMBEDDING_MODEL": "text-embedding-3-small"}
DIMENSIONS = 32

kept = clean(dict(os.environ))
os.environ.clear()
os.environ.update(kept)
os.environ["CHRONOS_ENV_FILE"] = os.devnull
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

folder = Path(tempfile.mkdtemp(prefix="chronos-tests-"))
folder.chmod(0o755)
atexit.register(shutil.rmtree, folder, ignore_errors=True)
os.environ["CHRONOS_DATA_DIR"] = str(folder / "data")

from chronos.embedded.client import hold  # noqa: E402

held = hold(["postgres", "redis"])
atexit.register(held.release)
openai_server = OpenAIServer(dimensions=DIMENSIONS)
openai_server.start()
atexit.register(openai_server.stop)

os.environ.update(
    {
        "DATABASE_URL": held.services["postgres"]["url"],
        "REDIS_URL": held.services["redis"]["url"],
        "OPENAI_BASE_URL": openai_server.url,
        "OPENAI_API_KEY": openai_server.key,
        "EMBEDDING_DIMENSIONS": str(DIMENSIONS),
        "CHRONOS_CREATOR_STARTS_PER_MINUTE": "0",
        **MODELS,
    }
)
