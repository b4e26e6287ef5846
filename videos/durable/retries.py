"""When a failed step is tried again. Pure: a decision, on which another layer acts."""

from __future__ import annotations

#: Retries after the first attempt.
TRANSCRIPTION_RETRIES = 3
EMBEDDING_RETRIES = 2
DEFAULT_RETRIES = 3
#: A delay is lengthened by up to this share, so that runs that failed together part ways.
_JITTER = 0.1


def retry_delay_s(
    failures: int, retries: int, backoff_s: float, cap_s: float, chance: float
) -> float | None:
    """Return the seconds until the next attempt, or None when there is none left.

    `failures` counts the attempts that failed, this one included: 1, 2, 4, … times
    `backoff_s`, at most `cap_s`. `chance` is a random number from 0 to 1.
    """
    if failures > retries:
        return None
    delay: float = min(backoff_s * 2.0 ** (failures - 1), cap_s)
    return delay * (1 + _JITTER * chance)
