"""The stage `chunk`: segments → chunks of 500 to 1000 words."""

from __future__ import annotations

from videos.durable import runs, steps
from videos.durable.claims import Claim
from videos.pipeline import carry_over, chunks
from videos.text import chunking

_CHUNKED_WITHIN_S = 1800.0


def chunk(claim: Claim) -> None:
    """Replace the revision's chunks, and pass the run on.

    Corrections can only have been made of a transcript that is in force, or while this works.
    """
    revision, video = claim.run.revision, claim.run.video
    assert revision is not None and revision.transcript is not None and video is not None
    with steps.planned_step(claim, "chunks") as step:
        is_stored, may_be_corrected = False, video.revision_id is not None
        while not is_stored:
            if may_be_corrected:
                with claim.guard():
                    carry_over.carry_over(video, revision)
            may_be_corrected = True
            segments = list(revision.transcript.segments.all())
            # A person who cancels waits for no text, however long.
            texts = claim.await_call(_CHUNKED_WITHIN_S, chunking.chunk, segments)
            with claim.guard() as run:
                # What a person has corrected since it was read is read once more.
                is_stored = not carry_over.is_outdated(video, revision)
                if is_stored:
                    chunks.store(revision, texts, segments)
                    steps.finish(run, step, {"chunks": len(texts)})
                    runs.advance(claim, run)
