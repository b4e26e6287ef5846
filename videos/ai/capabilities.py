"""What each transcription model takes and gives: one table. Pure.

Source: developers.openai.com, API reference of `POST /v1/audio/transcriptions` and the guide to
speech to text; for servers of one's own, what they answer to the first call
(`pipeline.transcribe.model_probe`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from videos.audio.splitting import MAX_PART_MS

#: A model without times gets short clips, cut in pauses: their bounds are the times.
UNTIMED_MS = 30_000
#: Whisper looks at no more than 224 tokens of a prompt (OpenAI's guide to speech to text), the
#: last ones; a token is about four bytes.
_PROMPT_BYTES = 800


@dataclass(frozen=True)
class Capability:
    """What may be asked of a model, and what it answers."""

    #: `verbose_json` and `diarized_json` have segments with times; `json` has text alone.
    response_format: str = "verbose_json"
    #: What is asked for beside the text: "segment", "word".
    granularities: tuple[str, ...] = ("segment", "word")
    #: The longest audio of one call in milliseconds, where that is less than our own limit.
    longest_ms: int = MAX_PART_MS
    #: The name of the parameter for a prompt and for the terms of a glossary; empty: none.
    prompt: str = "prompt"
    glossary: str = "prompt"
    #: Parameters of every call, and of the one that hears a doubtful part again.
    always: Mapping[str, Any] = field(default_factory=dict)
    again: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_timed(self) -> bool:
        """Whether the answer says at which second something was said."""
        return self.response_format != "json"

    @property
    def longest_part_ms(self) -> int:
        """The longest part to cut for the model, in milliseconds."""
        return min(self.longest_ms, MAX_PART_MS if self.is_timed else UNTIMED_MS)

    def as_json(self) -> dict[str, Any]:
        """Return what is remembered of a model that was probed."""
        return asdict(self)

    @classmethod
    def from_json(cls, remembered: Mapping[str, Any]) -> Capability:
        """Return what `as_json` told."""
        granularities = tuple(remembered.get("granularities", cls.granularities))
        return cls(**{**remembered, "granularities": granularities})


#: Any server that speaks the API of faster-whisper or whisper.cpp, and whisper-1 itself. A second
#: hearing is warmer: it leaves the loop in which Whisper repeats a line.
WHISPER = Capability(again={"temperature": 0.4})
WITHOUT_WORDS = Capability(granularities=("segment",), again={"temperature": 0.4})
UNTIMED = Capability("json", ())
#: From the richest to the poorest: what a model that nobody knows is asked for.
CANDIDATES = (WHISPER, WITHOUT_WORDS, UNTIMED)

#: The day on which OpenAI ends a model (developers.openai.com, deprecations).
ENDS = {
    "whisper-1": "2027-02-26",
    "gpt-4o-transcribe": "2027-02-26",
    "gpt-4o-mini-transcribe": "2027-02-26",
    "gpt-4o-mini-transcribe-2025-12-15": "2027-02-26",
    "gpt-4o-transcribe-diarize": "2027-02-26",
}

#: At most 1400 seconds of audio. `chunking_strategy` has the server even out the loudness.
_GPT_4O = Capability("json", (), longest_ms=1_400_000, again={"chunking_strategy": "auto"})
_KNOWN = {
    "whisper-1": WHISPER,
    "gpt-4o-transcribe": _GPT_4O,
    "gpt-4o-mini-transcribe": _GPT_4O,
    "gpt-4o-mini-transcribe-2025-12-15": _GPT_4O,
    "gpt-4o-transcribe-diarize": Capability(
        "diarized_json",
        (),
        longest_ms=1_400_000,
        prompt="",
        glossary="",
        always={"chunking_strategy": "auto"},
        again={"temperature": 0.4},
    ),
    "gpt-transcribe": Capability(
        "json", (), glossary="keywords", again={"chunking_strategy": "auto"}
    ),
}
#: The embedded AI server's models (docs/configuration.md): "chronos-local-stt/small", …
_EMBEDDED = "chronos-local-stt"


def known(model: str) -> Capability | None:
    """Return what a model can do, or None where only a call can tell."""
    return WHISPER if model.split("/")[0] == _EMBEDDED else _KNOWN.get(model)


def asked(
    capability: Capability, *, language: str, prompt: str, glossary: Sequence[str], again: bool
) -> dict[str, Any]:
    """Return the parameters of a call beside its file and model.

    A second hearing goes without prompt and glossary: Whisper may take its text from there.
    """
    parameters: dict[str, Any] = {"response_format": capability.response_format}
    parameters |= capability.always
    if capability.granularities:
        parameters["timestamp_granularities"] = list(capability.granularities)
    if language:
        parameters["language"] = language
    if again:
        return {**parameters, **capability.again}
    if glossary and capability.glossary == "keywords":
        parameters["keywords"] = list(glossary)
        glossary = ()
    written = _prompt(prompt, glossary if capability.glossary else ())
    if written and capability.prompt:
        parameters["prompt"] = written
    return parameters


def _prompt(prompt: str, glossary: Sequence[str]) -> str:
    """Return the prompt with as many terms as the model looks at, the first ones first."""
    written = prompt.encode()[:_PROMPT_BYTES].decode(errors="ignore").strip()
    for number, term in enumerate(glossary):
        longer = f"{written}{', ' if number else ' ' if written else ''}{term}"
        if len(longer.encode()) > _PROMPT_BYTES:
            break
        written = longer
    return written
