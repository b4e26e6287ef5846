"""The second stage, where a service is set up for it: the best hits, ordered once more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from videos.ai import rerank
from videos.conf import conf
from videos.durable import paid_calls
from videos.durable.paid_calls import PaidCall
from videos.exceptions import ChronosError
from videos.search.hits import Hit

logger = logging.getLogger(__name__)

#: Of a search, the best are compared.
RERANKED = 30
#: Nobody waits longer: the order that there is does.
_TIMEOUT_S = 2.0


def reranked(query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Return hits by their relevance, which becomes their score; as they were if it fails."""
    texts = [hit.snippet for hit in hits]
    tokens = rerank.estimated_tokens(query, texts)
    ask = partial(rerank.relevance, query, texts)
    try:
        answer = paid_calls.make_query(
            PaidCall(rerank.SERVICE, conf().rerank_model, tokens, ask), _TIMEOUT_S
        )
    except ChronosError as error:
        logger.warning("The search goes on without a second opinion: %s", error)
        return list(hits)
    scored = [replace(hit, score=score) for hit, score in zip(hits, answer.scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)
