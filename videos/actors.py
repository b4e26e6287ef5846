"""The Dramatiq actors of the pipeline. They take a run's id, and hand over at once."""

from __future__ import annotations

import dramatiq

from videos.durable.admission import BULK
from videos.events import declare_actor
from videos.pipeline.functions import STAGES

transcribe_video, chunk_transcript, embed_chunks, finish_video = (
    declare_actor(stage.actor, name) for name, stage in STAGES.items()
)

# Bulk runs use the same actors on a queue of their own.
dramatiq.get_broker().declare_queue(BULK)
