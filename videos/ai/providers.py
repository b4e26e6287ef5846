"""Who transcribes and who embeds: the classes that CHRONOS_TRANSCRIBER and CHRONOS_EMBEDDER name.

A class of one's own needs no base class: it is made without arguments at the beginning of a
stage, called from several threads at once, and closed at the stage's end. Whatever it raises that
is not a ChronosError counts as a call that may have been paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from django.utils.module_loading import import_string

from videos.ai import chat, rerank
from videos.ai.capabilities import Capability
from videos.conf import conf
from videos.durable.paid import prices
from videos.durable.paid.models import Call
from videos.durable.paid.prices import Price

if TYPE_CHECKING:
    from videos.ai.embedding import Embedded, EmbeddingLimits
    from videos.ai.transcription import Recognized, Request


class Transcriber(Protocol):
    """Turns speech into text."""

    #: USD by model.
    prices: Mapping[str, Price]

    @staticmethod
    def capability(model: str) -> Capability | None:
        """Return what a model can do, or None where only a first call can tell."""

    def transcribe(
        self,
        path: Path,
        *,
        request: Request,
        duration_s: float,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Recognized:
        """Send one upload (FLAC, or Ogg Opus), and return what was recognized.

        Args:
            path: the upload, 16 kHz mono.
            request: what the model is told: language, prompt, glossary.
            duration_s: how long the upload lasts.
            model: TRANSCRIPTION_MODEL, or the one with which a transcript was begun.
            call_id: the ledger's id of the call, by which the service can be asked about it.
            within_s: seconds within which the answer has to be whole.

        Raises:
            ServiceFault: RateLimited and ServiceUnavailable are waited for and retried, Rejected
                and BadResponse say that the service refused, or cannot be understood.
            ConfigurationFault: Unauthorized and Misconfigured fail the video at once.
        """

    def close(self) -> None:
        """End what is under way: its answers are wanted by nobody any more."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    #: USD by model.
    prices: Mapping[str, Price]
    #: What one request may hold.
    limits: EmbeddingLimits

    def embed(
        self,
        texts: Sequence[str],
        *,
        dimensions: int,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Embedded:
        """Return the vectors of texts, in their order.

        Args:
            texts: as many as the limits allow; overlong ones are embedded by their beginning.
            dimensions: EMBEDDING_DIMENSIONS: how many numbers each vector has to have.
            model: EMBEDDING_MODEL, or the one that still serves searches.
            call_id: the ledger's id of the call, by which the service can be asked about it.
            within_s: seconds within which the answer has to be whole.

        Raises:
            ServiceFault, ConfigurationFault: as `Transcriber.transcribe`.
        """

    def close(self) -> None:
        """End what is under way: its answers are wanted by nobody any more."""


def capability(model: str) -> Capability | None:
    """Return what the transcriber says of a model."""
    named: type[Transcriber] = import_string(conf().transcriber)
    return named.capability(model)


def transcriber() -> Transcriber:
    """Return a new transcriber, as the settings name it; close it."""
    made: Transcriber = import_string(conf().transcriber)()
    return made


def embedder() -> Embedder:
    """Return a new embedder, as the settings name it; close it."""
    made: Embedder = import_string(conf().embedder)()
    return made


def services() -> set[str]:
    """Return what the ledger calls the services that are called; paid steps may name others."""
    return {*Call.Service.values, chat.SERVICE, rerank.SERVICE, *conf().limits}


def _prices() -> dict[str, Price]:
    known: dict[str, Price] = {}
    for path in (conf().embedder, conf().transcriber):
        known |= import_string(path).prices
    return known


prices.add_source(_prices)
