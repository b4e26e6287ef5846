"""Text to vectors, by any server that speaks OpenAI's `POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import openai

from videos import services
from videos.conf import conf
from videos.counting import estimate_tokens
from videos.exceptions import BadResponse, Misconfigured

#: OpenAI's limits, with a margin for our estimate of tokens.
MAX_INPUTS = 2_048
MAX_REQUEST_TOKENS = 250_000
MAX_INPUT_TOKENS = 8_000
#: Halfvecs hold no more (IEEE 754 binary16).
_MOST = float(np.finfo(np.float16).max)

#: Models that can shorten their vectors when `dimensions` is sent; others refuse the word.
_SHORTENABLE = ("text-embedding-3-", "chronos-local-embed")


@dataclass(frozen=True)
class Embedded:
    """Vectors in the order of the texts, one row each, and what they cost."""

    vectors: npt.NDArray[np.float32]
    tokens: int


def client() -> openai.OpenAI:
    """Return a client of the embedding service."""
    return services.client(conf().embedding_base_url, conf().embedding_api_key)


def embed(
    api: openai.OpenAI, texts: Sequence[str], *, model: str, dimensions: int, call_id: UUID
) -> Embedded:
    """Return the vectors of up to 2048 texts; overlong ones are embedded by their beginning.

    Raises:
        ServiceFault, ConfigurationFault: as `services` translates the service's errors.
    """
    settings = conf()
    asked: dict[str, Any] = {}
    if model.startswith(_SHORTENABLE):
        asked["dimensions"] = dimensions
    with services.translated("embedding", settings.embedding_base_url, settings.embedding_api_key):
        try:
            answer = api.embeddings.create(
                model=model,
                input=[_clipped(text) for text in texts],
                extra_headers=services.request_id(call_id),
                **asked,
            )
            ordered = sorted(answer.data, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in ordered], dtype=np.float32)
        except (ValueError, TypeError, AttributeError) as error:
            raise BadResponse(f"The embedding service's answer cannot be read: {error}.") from None
    if vectors.ndim != 2 or len(vectors) != len(texts) or not (np.abs(vectors) <= _MOST).all():
        raise BadResponse("The embedding service did not return one vector for each text.")
    if vectors.shape[1] != dimensions:
        raise Misconfigured(
            f"The model {model} returns {vectors.shape[1]} dimensions, EMBEDDING_DIMENSIONS says "
            f"{dimensions}. Correct it, then reprocess the video.",
            http_status=200,
        )
    return Embedded(vectors, int(services.amount(getattr(answer.usage, "total_tokens", 0))))


def _clipped(text: str) -> str:
    """Keep an input under 8192 tokens; what is cut off is still embedded as passages."""
    while (tokens := estimate_tokens(text)) > MAX_INPUT_TOKENS:
        text = text[: len(text) * MAX_INPUT_TOKENS // tokens]
    return text
