"""What a transcription model can do: from the table, from memory, or from one call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from videos.ai import capabilities, providers
from videos.ai.capabilities import Capability
from videos.ai.transcription import Recognized, Request
from videos.audio.decoding import Decoding, decode
from videos.audio.parts import SAMPLE_RATE
from videos.audio.splitting import Limits, Splitter, levels_db
from videos.conf import conf
from videos.durable import paid_calls, steps
from videos.durable.claims import Claim
from videos.durable.paid_calls import PaidCall
from videos.exceptions import Rejected
from videos.models import Call, ProbedModel, Step
from videos.pipeline.transcribe.media_file import MediaFile

#: The first speech is looked for in so much of a recording at a time; so much of it is sent.
_SEARCHED_S = 120
_SENT_S = 10
_CPU_S = 3600
_TOKENS = 200


def known_capability(model: str) -> Capability | None:
    """Return what a model can do, without asking it."""
    listed = providers.capability(model)
    if listed is not None:
        return listed
    remembered = ProbedModel.objects.filter(
        base_url=conf().transcription_base_url or "", model=model
    ).first()
    return Capability.from_json(remembered.capability) if remembered else None


def probe(claim: Claim, source: MediaFile, folder: Path, model: str) -> Capability:
    """Ask a model that nobody knows to transcribe the first words, and remember how it answers.

    A recording without any speech tells nothing, and needs no call: the model is then taken for
    one like Whisper, this time.
    """
    path = folder / "probe.flac"
    if not _write_first_speech(claim, source, path):
        return capabilities.WHISPER
    with steps.step(claim, f"probe {model}") as step:
        if step.result is not None:
            return Capability.from_json(step.result)
        refused: Rejected | None = None
        for candidate in capabilities.CANDIDATES:
            try:
                return _ask(claim, step, path, model, candidate)
            except Rejected as error:
                refused = error
        assert refused is not None
        raise refused


def _ask(claim: Claim, step: Step, path: Path, model: str, candidate: Capability) -> Capability:
    with closing(providers.transcriber()) as transcriber:
        ask = partial(
            transcriber.transcribe,
            path,
            request=Request(candidate),
            duration_s=soundfile.info(path).duration,
        )
        paid = PaidCall(Call.Service.TRANSCRIPTION, model, _TOKENS, ask)
        call, recognized = paid_calls.make(claim, step, paid)
    found = _capability(candidate, recognized)

    def store(settled: paid_calls.Settled) -> None:
        if recognized.segments:
            ProbedModel.objects.update_or_create(
                base_url=conf().transcription_base_url or "",
                model=model,
                defaults={"capability": found.as_json()},
            )
        steps.finish(settled.run, step, found.as_json())

    paid_calls.settle(claim, call, store, **recognized.measured)
    return found


def _capability(candidate: Capability, recognized: Recognized) -> Capability:
    """Return what the answer to a candidate's parameters shows."""
    if not recognized.segments:
        return candidate
    if not recognized.is_timed:
        return capabilities.UNTIMED
    has_words = any(segment.words for segment in recognized.segments)
    return (
        candidate
        if has_words or "word" not in candidate.granularities
        else (capabilities.WITHOUT_WORDS)
    )


def _write_first_speech(claim: Claim, source: MediaFile, path: Path) -> bool:
    """Write a few seconds from where speech begins; return whether there is any."""
    with decode(source.path, _CPU_S, *source.tracks, check=claim.check) as decoding:
        for samples in _windows(decoding):
            claim.check()
            begins_ms = _first_speech_ms(samples)
            if begins_ms is not None:
                first = begins_ms * SAMPLE_RATE // 1000
                soundfile.write(path, samples[first : first + _SENT_S * SAMPLE_RATE], SAMPLE_RATE)
                return True
    return False


def _windows(decoding: Decoding) -> Iterator[npt.NDArray[np.int16]]:
    """Yield the samples of about two minutes at a time."""
    blocks: list[npt.NDArray[np.int16]] = []
    for block in decoding.blocks():
        blocks.append(block)
        if sum(map(len, blocks)) >= _SEARCHED_S * SAMPLE_RATE:
            yield np.concatenate(blocks)
            blocks = []
    if blocks:
        yield np.concatenate(blocks)


def _first_speech_ms(samples: npt.NDArray[np.int16]) -> int | None:
    end_ms = math.floor(len(samples) / SAMPLE_RATE * 1000)
    splitter = Splitter(Limits(end_ms, 1))
    parts = [*splitter.feed(levels_db(samples)), *splitter.finish(end_ms)]
    return next((part.speech[0][0] for part in parts if part.speech), None)
