"""The vectors in an answer of `POST /v1/embeddings`: read, and checked. Pure."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from videos.exceptions import AbsurdResponse, BadResponse, Misconfigured

#: Halfvecs hold three digits of numbers from 0.00006 to 65,504 (IEEE 754 binary16).
_SHORT, _LONG = 0.1, 1_000.0


def read_vectors(body: Any, count: int, model: str, dimensions: int) -> npt.NDArray[np.float32]:
    """Return the vectors of an answer, in the order of the texts, one row each.

    Raises:
        BadResponse: if there is not one vector for each text, or all of them are zero.
        Misconfigured: if they have not as many dimensions as is configured.
    """
    try:
        ordered = sorted(body["data"], key=lambda row: row["index"])
        with np.errstate(over="ignore"):
            vectors = np.array([_vector(row["embedding"]) for row in ordered], dtype=np.float32)
    except OverflowError:
        raise AbsurdResponse(
            "The embedding service returned numbers that are out of range."
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadResponse(f"The embedding service's answer cannot be read: {error}.") from None
    if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
        raise BadResponse("The embedding service did not return one vector for each text.")
    if vectors.shape[1] != dimensions:
        raise Misconfigured(
            f"The model {model} returns {vectors.shape[1]} dimensions, EMBEDDING_DIMENSIONS says "
            f"{dimensions}. Correct it, then reprocess the video.",
            http_status=200,
        )
    return _in_range(vectors)


def _in_range(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring vectors that a halfvec would round to zero, or cannot hold, to length 1.

    Nothing depends on a vector's length: distances are those of directions.

    Raises:
        BadResponse: if all of them are zero.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not lengths.any():
        raise BadResponse("The embedding service returned vectors that are all zero.")
    is_odd = ((lengths < _SHORT) | (lengths > _LONG)) & (lengths > 0)
    scaled: npt.NDArray[np.float32] = np.where(
        is_odd, vectors / np.where(is_odd, lengths, 1), vectors
    ).astype(np.float32)
    return scaled


def _vector(embedding: Any) -> Any:
    """Read a vector as base64, which was asked for, or as the list that others send instead."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return embedding
