"""How chunks and their passages are grouped into calls."""

from hypothesis import given
from hypothesis import strategies as st

from videos.ai.embedding import EmbeddingLimits
from videos.models import Chunk, Segment
from videos.pipeline.batches import CHUNKS_PER_CALL, group

LIMITS = EmbeddingLimits(max_inputs=60, max_request_tokens=4_000, max_input_tokens=1_000)


def talk(words_of_segments):
    """Segments of so many words, each chunk holding three of them."""
    segments = [
        Segment(index=index, start=index, end=index + 1, text=" ".join(["word"] * count))
        for index, count in enumerate(words_of_segments)
    ]
    chunks = []
    for first in range(0, len(segments), 3):
        inside = segments[first : first + 3]
        text = " ".join(segment.text for segment in inside)
        chunks.append(
            Chunk(
                index=len(chunks),
                first_segment=first,
                last_segment=first + len(inside) - 1,
                text=text,
            )
        )
    return chunks, segments


@given(st.lists(st.integers(1, 400), min_size=1, max_size=120))
def test_every_chunk_is_in_one_batch_and_no_batch_is_too_large(words):
    chunks, segments = talk(words)

    batches = list(group(chunks, segments, LIMITS))

    assert [chunk for batch in batches for chunk in batch.chunks] == chunks
    for batch in batches:
        assert len(batch.chunks) <= CHUNKS_PER_CALL
        assert len(batch.targets) <= LIMITS.max_inputs
        assert batch.tokens <= LIMITS.max_request_tokens or len(batch.chunks) == 1
        whole = [target for target in batch.targets if target.segment_index is None]
        assert [target.chunk for target in whole] == batch.chunks


def test_passages_begin_at_segments_of_their_chunk():
    chunks, segments = talk([30] * 6)

    (batch,) = group(chunks, segments, LIMITS)

    assert [target.segment_index for target in batch.targets] == [None, 0, 1, 2, None, 3, 4, 5]


def test_a_chunk_of_one_passage_is_embedded_once():
    chunks, segments = talk([5, 5, 5])

    (batch,) = group(chunks, segments, LIMITS)

    assert [target.segment_index for target in batch.targets] == [None]
