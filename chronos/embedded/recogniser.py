"""English speech to words with their times, by pocketsphinx in processes of its own."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import active_children, get_context, parent_process
from typing import Any

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder, Segmenter

#: A pause of about this long ends an utterance; sentences are further apart.
_ENDPOINT_WINDOW_S = 0.3
_FRAMES_PER_S = 100


def warm_up() -> None:
    """Have the first process load its model before there is anything to recognise."""
    _recognisers().submit(_decoder_is_loaded)


def stop() -> None:
    """End the processes, whatever they are at."""
    for process in active_children():
        process.terminate()
    _recognisers().shutdown(cancel_futures=True)


def recognise(samples: npt.NDArray[np.int16]) -> Iterator[dict[str, Any]]:
    """Yield the utterances of 16 kHz mono samples; they are recognised side by side, on all cores.

    Each is {"text", "start", "end", "words": [{"word", "start", "end"}, …]}, in seconds.
    """
    segmenter = Segmenter(window=_ENDPOINT_WINDOW_S)
    pcm = samples.tobytes()
    if len(pcm) % segmenter.frame_bytes == 0:
        # It ends an utterance only at a last frame that is short.
        pcm += bytes(2)
    spans = list(segmenter.segment(io.BytesIO(pcm)))
    heard = _recognisers().map(_recognise_utterance, [span.pcm for span in spans])
    for span, words in zip(spans, heard, strict=True):
        placed = [
            {
                "word": word,
                "start": round(span.start_time + start, 2),
                "end": round(span.start_time + end, 2),
            }
            for word, start, end in words
        ]
        if placed:
            yield {
                "text": " ".join(entry["word"] for entry in placed),
                "start": placed[0]["start"],
                "end": placed[-1]["end"],
                "words": placed,
            }


def _recognise_utterance(pcm: bytes) -> list[tuple[str, float, float]]:
    """Return (word, start, end) in seconds of the utterance, without noises and variants."""
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    return [
        (
            segment.word.split("(")[0],
            segment.start_frame / _FRAMES_PER_S,
            (segment.end_frame + 1) / _FRAMES_PER_S,
        )
        for segment in decoder.seg()
        if segment.word[0] not in "<["
    ]


@cache
def _decoder() -> Any:
    return Decoder(loglevel="FATAL")


def _decoder_is_loaded() -> bool:
    return _decoder() is not None


@cache
def _recognisers() -> ProcessPoolExecutor:
    # Spawned, because this process has threads; they ignore Ctrl-C and end with their parent.
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_prepare
    )


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _decoder()


def _end_with_parent() -> None:
    """End once the server has; the pool's own queue would keep this process for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
