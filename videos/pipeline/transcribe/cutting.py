"""What an `AudioProducer` produces: parts of a video's file, or of its stored audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from videos.audio import ffmpeg
from videos.audio.decoding import BLOCK_SAMPLES, decode
from videos.audio.mixing import Samples
from videos.audio.parts import SAMPLE_RATE, Part
from videos.audio.splitting import Limits, Splitter, levels_db
from videos.conf import conf
from videos.exceptions import TimedOut, UnreadableMedia
from videos.pipeline.transcribe.media_file import MediaFile
from videos.pipeline.transcribe.producer import AudioEnd, AudioProducer, CutPart

_SAMPLES_PER_MS = SAMPLE_RATE // 1000
#: ffmpeg decodes audio at several hundred times real time (docs/figures.md).
_DECODE_CPU_PER_MEDIA_S = 0.2
_DECODE_CPU_S = 120
#: Less than this, decoded from a file that breaks off, is noise of something else.
_MIN_OF_BROKEN_MS = 1_000


def cut_media(
    source: MediaFile, folder: Path, limits: Limits, committed: Sequence[int]
) -> AudioProducer:
    """Decode a media file once; parts arrive as they are cut, the whole goes to audio.flac."""
    whole = folder / "audio.flac"

    def produce(producer: AudioProducer) -> AudioEnd:
        cpu_s = _DECODE_CPU_S + int(conf().max_duration_s * _DECODE_CPU_PER_MEDIA_S)
        with (
            decode(source.path, cpu_s, *source.tracks, check=producer.check) as decoding,
            _writing(whole) as written,
        ):
            producer.interrupt_with(decoding.kill)
            cutter = _Cutter(producer, folder, limits, committed)
            for block in decoding.blocks():
                written.write(block)
                cutter.feed(block)
            broken = decoding.is_broken()
            if decoding.was_killed():
                raise TimedOut("Decoding the file took too much CPU time or memory and was ended.")
        end_ms = cutter.end_ms
        if not end_ms or (broken and end_ms < _MIN_OF_BROKEN_MS):
            raise UnreadableMedia(
                "The audio track holds nothing that can be decoded. Export the video again."
            )
        cutter.finish(whole)
        return AudioEnd(end_ms, broken or source.is_cut_off(end_ms, cpu_s))

    return AudioProducer(folder, produce)


def cut_stored(
    audio: Path, folder: Path, limits: Limits, committed: Sequence[int], *, truncated: bool
) -> AudioProducer:
    """Cut a video's stored audio anew."""

    def produce(producer: AudioProducer) -> AudioEnd:
        cutter = _Cutter(producer, folder, limits, committed)
        with soundfile.SoundFile(audio) as whole:
            for block in whole.blocks(BLOCK_SAMPLES, dtype="int16"):
                cutter.feed(block)
        cutter.finish()
        return AudioEnd(cutter.end_ms, truncated)

    return AudioProducer(folder, produce)


def cut_again(audio: Path, folder: Path, parts: Sequence[Part], end: AudioEnd) -> AudioProducer:
    """Cut parts whose bounds are known from stored audio."""

    def produce(producer: AudioProducer) -> AudioEnd:
        with soundfile.SoundFile(audio) as whole:
            for part in parts:
                producer.check()
                producer.put(CutPart(part, _write_upload(folder, part, read_upload(whole, part))))
        return end

    return AudioProducer(folder, produce)


def nothing_to_cut(folder: Path, end: AudioEnd) -> AudioProducer:
    """Return the end alone, for media all of whose parts are transcribed."""
    return AudioProducer(folder, lambda _: end)


class _Cutter:
    """Cuts samples as they come, and hands on each part as soon as its end is known."""

    def __init__(
        self, producer: AudioProducer, folder: Path, limits: Limits, committed: Sequence[int]
    ) -> None:
        self._producer = producer
        self._folder = folder
        self._splitter = Splitter(limits, committed)
        self._blocks: list[Samples] = []
        self._samples = 0

    @property
    def end_ms(self) -> int:
        """Milliseconds of audio so far."""
        return self._samples // _SAMPLES_PER_MS

    def feed(self, block: Samples) -> None:
        """Take more samples, and hand on the parts that end in them.

        Raises:
            TooLong: if there are more than CHRONOS_MAX_DURATION_S allows.
        """
        self._producer.check()
        self._samples += len(block)
        _check_duration(self._samples)
        self._blocks.append(block)
        self._hand_on(self._splitter.feed(levels_db(block)))

    def finish(self, whole: Path | None = None) -> None:
        """Hand on what is left; where that is all of a short file, it is encoded already."""
        parts = self._splitter.finish(self.end_ms)
        if whole and [part.clips for part in parts] == [[(0, self.end_ms)]] and _uploads_flac():
            path = self._folder / "whole.flac"
            path.symlink_to(whole)
            self._producer.put(CutPart(parts[0], path))
        else:
            self._hand_on(parts)

    def _hand_on(self, parts: Iterable[Part]) -> None:
        for part in parts:
            samples = np.concatenate(self._blocks)
            length = (part.end_ms - part.start_ms) * _SAMPLES_PER_MS
            self._blocks = [samples[length:]]
            path = _write_upload(self._folder, part, _clips(part, samples[:length]))
            self._producer.put(CutPart(part, path))


@contextmanager
def _writing(path: Path) -> Iterator[soundfile.SoundFile]:
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as written:
        yield written


def read_upload(whole: soundfile.SoundFile, part: Part) -> Samples:
    """Return what is uploaded of a part, from the whole audio; without speech, no samples."""
    whole.seek(part.start_ms * _SAMPLES_PER_MS)
    samples = whole.read((part.end_ms - part.start_ms) * _SAMPLES_PER_MS, dtype="int16")
    return _clips(part, samples)


def _clips(part: Part, samples: Samples) -> Samples:
    """Return the clips of a part's samples, one after the other."""
    clips = [
        samples[(start - part.start_ms) * _SAMPLES_PER_MS : (end - part.start_ms) * _SAMPLES_PER_MS]
        for start, end in part.clips
    ]
    return np.concatenate(clips) if clips else samples[:0]


def _write_upload(folder: Path, part: Part, upload: Samples) -> Path | None:
    """Write a part's clips to a file, as CHRONOS_UPLOAD_CODEC says; None if there are none."""
    if not len(upload):
        return None
    name = f"{part.start_ms}-{part.end_ms}"
    if _uploads_flac():
        path = folder / f"{name}.flac"
        soundfile.write(path, upload, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    else:
        path = folder / f"{name}.ogg"
        path.write_bytes(ffmpeg.encode_opus(upload))
    return path


def _uploads_flac() -> bool:
    return conf().upload_codec == "flac"


def _check_duration(samples: int) -> None:
    if samples > conf().max_duration_s * SAMPLE_RATE:
        raise ffmpeg.too_long()
