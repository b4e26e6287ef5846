"""Text to vectors, by any server that speaks OpenAI's `POST /v1/embeddings`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from videos.ai import openai_client
from videos.conf import conf
from videos.exceptions import ChronosError
from videos.text.counting import estimate_tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Tokens that a model may put around a text, such as its beginning and its end.
_EXTRA_TOKENS = 8
#: Models that can shorten their vectors when `dimensions` is sent; others refuse the word.
_SHORTENABLE = ("text-embedding-3-", "chronos-local-embed")


@dataclass(frozen=True)
class EmbeddingLimits:
    """What one request may hold."""

    max_inputs: int
    max_request_tokens: int
    #: Of one text; more of it is left out, and still embedded as passages.
    max_input_tokens: int


@dataclass(frozen=True)
class Embedded:
    """Vectors in the order of the texts, one row each, and what they cost."""

    vectors: npt.NDArray[np.float32]
    tokens: int

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of the answer."""
        return {"tokens": self.tokens}


class OpenAIEmbedder:
    """Any server that speaks OpenAI's `POST /v1/embeddings`."""

    #: USD, as published: platform.openai.com/docs/pricing.
    prices: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "text-embedding-3-small": {"million_tokens": 0.02},
        "text-embedding-3-large": {"million_tokens": 0.13},
        "text-embedding-ada-002": {"million_tokens": 0.10},
    }
    #: OpenAI's own, with a margin for our estimate of tokens.
    limits = EmbeddingLimits(max_inputs=2_048, max_request_tokens=250_000, max_input_tokens=8_000)

    def __init__(self) -> None:
        settings = conf()
        self._where = (settings.embedding_base_url, settings.embedding_api_key)
        self._api = openai_client.client(*self._where)

    def embed(
        self,
        texts: Sequence[str],
        *,
        dimensions: int,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Embedded:
        """Return the vectors of texts; see `providers.Embedder`.

        Raises:
            ServiceFault, ConfigurationFault: as `openai_client` translates the service's errors.
        """
        # With numpy, for which whoever only asks for prices and limits need not wait.
        from videos.ai.vector_answers import read_vectors

        deadline = time.monotonic() + within_s
        asked: dict[str, Any] = {}
        if model.startswith(_SHORTENABLE):
            asked["dimensions"] = dimensions
        sent = [_clipped(text, self.limits.max_input_tokens) for text in texts]
        body: Any = None
        try:
            with (
                openai_client.translated("embedding", *self._where),
                self._api.embeddings.with_streaming_response.create(
                    model=model,
                    input=sent,
                    encoding_format="base64",
                    extra_headers=openai_client.request_id(call_id),
                    timeout=openai_client.timeout(within_s),
                    **asked,
                ) as response,
            ):
                body = openai_client.read_json(response, "embedding", deadline)
            vectors = read_vectors(body, len(texts), model, dimensions)
            return Embedded(vectors, _tokens(body, sent))
        except ChronosError as error:
            if error.was_paid:
                error.measured = {"tokens": _tokens(body, sent)}
            raise

    def close(self) -> None:
        """End the calls that are under way."""
        self._api.close()


def _tokens(body: Any, sent: Sequence[str]) -> int:
    """Return what an answer says it used: no token has less than a byte, each text a few more."""
    usage = body.get("usage") if isinstance(body, dict) else None
    counted = openai_client.amount(usage.get("total_tokens") if isinstance(usage, dict) else None)
    return int(min(counted, sum(len(text.encode()) + _EXTRA_TOKENS for text in sent)))


def _clipped(text: str, max_tokens: int) -> str:
    """Return as much of a text's beginning as fits."""
    while (tokens := estimate_tokens(text)) > max_tokens:
        text = text[: len(text) * max_tokens // tokens]
    return text
