"""The Dramatiq actors of the pipeline. They take a run's id, and hand over at once."""

from __future__ import annotations

import dramatiq

from videos.durable.functions import declare_actor
from videos.durable.priorities import BULK
from videos.durable.registry import WHOLE
from videos.pipeline import (  # noqa: F401  others' runs and chores
    bulk,
    chapters,
    emails,
    embedding_models,
    functions,
    lexemes,
    passages,
    proxy,
    refusals,
    retention,
    webhooks,
)

transcribe_video = declare_actor("transcribe_video", "transcribe")
chunk_transcript = declare_actor("chunk_transcript", "chunk")
embed_chunks = declare_actor("embed_chunks", "embed")
finish_video = declare_actor("finish_video", "finish")
refresh_vectors = declare_actor("refresh_vectors", WHOLE)
deliver_webhook = declare_actor("deliver_webhook", WHOLE)
make_chapters = declare_actor("make_chapters", WHOLE)
send_digest = declare_actor("send_digest", WHOLE)
make_proxy = declare_actor("make_proxy", WHOLE)

# Bulk runs use the same actors on a queue of their own.
dramatiq.get_broker().declare_queue(BULK)
