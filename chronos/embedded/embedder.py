"""The local embedding model: WordLlama's vectors of words, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def embed(texts: Sequence[str], dimensions: int) -> npt.NDArray[np.float32]:
    """Return vectors of length 1 in the rows: the first `dimensions` of the model's."""
    vectors = np.asarray(load().embed(list(texts)))[:, :dimensions]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype("<f4")
    return unit


def count_tokens(texts: Sequence[str]) -> int:
    """Return how many tokens the texts have together."""
    # The ids are padded to the longest text; the mask tells which are there.
    encodings = load().tokenizer.encode_batch(list(texts))
    return sum(sum(encoding.attention_mask) for encoding in encodings)


@cache
def load() -> Any:
    """Return the model, which is loaded once."""
    import wordllama

    return wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
