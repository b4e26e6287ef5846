"""The third service: any server that speaks OpenAI's `POST /v1/chat/completions`. Optional."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from videos.ai import openai_client
from videos.conf import conf
from videos.exceptions import AbsurdResponse, BadResponse, ChronosError, Overdue, ServiceUnavailable
from videos.text.counting import estimate_tokens
from videos.text.storable import error_message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

#: What the ledger, the breaker and CHRONOS_LIMITS call it.
SERVICE = "chat"
_MAX_CHARACTERS = 100_000

Message = Mapping[str, str]


@dataclass(frozen=True)
class Completion:
    """What the model wrote, and the tokens of question and answer."""

    text: str
    tokens: int

    @property
    def measured(self) -> dict[str, Any]:
        """What the ledger books of the answer."""
        return {"tokens": self.tokens}


def is_available() -> bool:
    """Whether a chat service is set up; without one, nothing of it is shown."""
    settings = conf()
    return bool(settings.chat_model and (settings.chat_base_url or settings.chat_api_key))


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Return about how many tokens a question and its answer have."""
    return sum(estimate_tokens(message["content"]) for message in messages) + 1_000


class OpenAIChat:
    """One client; close it to end the calls that are under way."""

    def __init__(self) -> None:
        settings = conf()
        self._where = (settings.chat_base_url, settings.chat_api_key)
        self._api = openai_client.client(*self._where)

    def complete(
        self,
        messages: Sequence[Message],
        told: Callable[[str], object] = lambda piece: None,
        *,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Completion:
        """Return what the model answers; each piece is `told` as it comes.

        Raises:
            ServiceFault, ConfigurationFault: as `openai_client` translates the service's errors.
        """
        deadline = time.monotonic() + within_s
        pieces: list[str] = []
        tokens = 0
        try:
            with openai_client.translated(SERVICE, *self._where):
                stream = self._api.chat.completions.create(
                    model=model,
                    messages=cast("list[ChatCompletionMessageParam]", list(messages)),
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_headers=openai_client.request_id(call_id),
                    timeout=openai_client.timeout(within_s),
                )
                with stream:
                    for chunk in stream:
                        if time.monotonic() > deadline:
                            raise Overdue(SERVICE)
                        if chunk.usage is not None:
                            tokens = int(openai_client.amount(chunk.usage.total_tokens))
                        piece = chunk.choices[0].delta.content if chunk.choices else None
                        if piece:
                            pieces.append(piece)
                            told(piece)
                        if sum(map(len, pieces)) > _MAX_CHARACTERS:
                            raise AbsurdResponse("The chat service's answer has no end.")
        except ChronosError:
            raise
        except Exception as error:  # Whatever the SDK's HTTP library raises while it reads.
            raise ServiceUnavailable(
                f"The chat service closed the connection in mid-answer: {error_message(error)}."
            ) from None
        text = "".join(pieces)
        if not text.strip():
            raise BadResponse("The chat service answered nothing.")
        # Servers that do not say what was used are taken at our estimate.
        return Completion(text, tokens or estimated_tokens(messages))

    def close(self) -> None:
        """End the calls that are under way."""
        self._api.close()
