"""What each transcription model takes and gives: one table. Pure.

Source: developers.openai.com, API reference of `POST /v1/audio/transcriptions` and the guide to
speech to text; for servers of one's own, what they answer to the first call
(`pipeline.transcribe.model_probe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from videos.audio.parts import MAX_PART_MS

#: A model without times gets short clips, cut in pauses: their bounds are the times.
UNTIMED_MS = 30_000


#: Fields of a capability that older versions stored under other names.
_OLD_NAMES = {"again": "second_pass", "longest_ms": "max_ms"}


@dataclass(frozen=True)
class Capability:
    """What may be asked of a model, and what it answers."""

    #: `verbose_json` and `diarized_json` have segments with times; `json` has text alone.
    response_format: str = "verbose_json"
    #: What is asked for beside the text: "segment", "word".
    granularities: tuple[str, ...] = ("segment", "word")
    #: The longest audio of one call in milliseconds, where that is less than our own limit.
    max_ms: int = MAX_PART_MS
    #: The name of the parameter for a prompt and for the terms of a glossary; empty: none.
    prompt: str = "prompt"
    glossary: str = "prompt"
    #: Parameters of every call, and of the second pass over a part whose text is doubtful.
    always: Mapping[str, Any] = field(default_factory=dict)
    second_pass: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_timed(self) -> bool:
        """Whether the answer says at which second something was said."""
        return self.response_format != "json"

    @property
    def max_part_ms(self) -> int:
        """The longest part to cut for the model, in milliseconds."""
        return min(self.max_ms, MAX_PART_MS if self.is_timed else UNTIMED_MS)

    def as_json(self) -> dict[str, Any]:
        """Return what is remembered of a model that was probed."""
        return asdict(self)

    @classmethod
    def from_json(cls, remembered: Mapping[str, Any]) -> Capability:
        """Return what `as_json` told, as it is told now or was by an older version."""
        known = {_OLD_NAMES.get(name, name): value for name, value in remembered.items()}
        known["granularities"] = tuple(known.get("granularities", cls.granularities))
        return cls(**known)


#: Any server that speaks the API of faster-whisper or whisper.cpp, and whisper-1 itself. A second
#: pass is warmer: it leaves the loop in which Whisper repeats a line.
WHISPER = Capability(second_pass={"temperature": 0.4})
WITHOUT_WORDS = Capability(granularities=("segment",), second_pass={"temperature": 0.4})
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
_GPT_4O = Capability("json", (), max_ms=1_400_000, second_pass={"chunking_strategy": "auto"})
_KNOWN = {
    "whisper-1": WHISPER,
    "gpt-4o-transcribe": _GPT_4O,
    "gpt-4o-mini-transcribe": _GPT_4O,
    "gpt-4o-mini-transcribe-2025-12-15": _GPT_4O,
    "gpt-4o-transcribe-diarize": Capability(
        "diarized_json",
        (),
        max_ms=1_400_000,
        prompt="",
        glossary="",
        always={"chunking_strategy": "auto"},
        second_pass={"temperature": 0.4},
    ),
    "gpt-transcribe": Capability(
        "json", (), glossary="keywords", second_pass={"chunking_strategy": "auto"}
    ),
}
#: The embedded AI server's models (docs/configuration.md): "chronos-local-stt/small", …
_EMBEDDED = "chronos-local-stt"


def known(model: str) -> Capability | None:
    """Return what a model can do, or None where only a call can tell."""
    return WHISPER if model.split("/")[0] == _EMBEDDED else _KNOWN.get(model)
