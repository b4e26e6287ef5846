"""An environment in which nothing configures Chronos."""

PREFIXES = ("CHRONOS_", "DJANGO_", "OPENAI_", "TRANSCRIPTION_", "EMBEDDING_", "AWS_", "SENTRY_")
NAMES = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "PORT")


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without anything that configures Chronos."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(PREFIXES) and name not in NAMES
    }
