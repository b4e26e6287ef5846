"""The fourth service: any server that speaks Cohere's `POST /rerank`. Optional.

So do Jina, vLLM, Infinity and LiteLLM (docs.cohere.com/reference/rerank).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from videos.ai import openai_client
from videos.conf import conf
from videos.exceptions import BadResponse
from videos.text.counting import estimate_tokens

#: What the ledger, the breaker and CHRONOS_LIMITS call it.
SERVICE = "rerank"


@dataclass(frozen=True)
class Relevance:
    """How well each text answers the query, in the order of the texts, and what that cost."""

    scores: list[float]
    tokens: int

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of the answer."""
        return {"tokens": self.tokens}


def is_available() -> bool:
    """Whether a service is set up."""
    return bool(conf().rerank_model)


def estimated_tokens(query: str, texts: Sequence[str]) -> int:
    """Return about how many tokens are compared: the query is read beside each text."""
    return sum(map(estimate_tokens, texts)) + len(texts) * estimate_tokens(query)


def relevance(
    query: str, texts: Sequence[str], *, model: str, call_id: UUID, within_s: float
) -> Relevance:
    """Return how relevant each text is to a query; higher is better, in the service's own scale.

    Raises:
        ServiceFault, ConfigurationFault: as `openai_client` translates the service's errors.
    """
    settings = conf()
    where = (settings.rerank_base_url, settings.rerank_api_key)
    asked = {"model": model, "query": query, "documents": list(texts), "top_n": len(texts)}
    with closing(openai_client.client(*where)) as api, openai_client.translated(SERVICE, *where):
        body = api.post(
            "/rerank",
            cast_to=object,
            body=asked,
            options={
                "headers": openai_client.request_id(call_id),
                "timeout": openai_client.timeout(within_s),
            },
        )
    return Relevance(_scores(body, len(texts)), estimated_tokens(query, texts))


def _scores(body: Any, count: int) -> list[float]:
    try:
        scores = {int(row["index"]): float(row["relevance_score"]) for row in body["results"]}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadResponse(f"The rerank service's answer cannot be read: {error}.") from None
    if set(scores) != set(range(count)) or not all(map(math.isfinite, scores.values())):
        raise BadResponse("The rerank service did not return one score for each text.")
    return [scores[position] for position in range(count)]
