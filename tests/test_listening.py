"""Sounds that encode their own position, from upload to transcript: every word at its time."""

import threading

import pytest

from tests import tones
from tests.conftest import ended, eventually
from tests.media import run_ffmpeg
from videos.models import AudioPart, Call, Segment, Transcript

pytestmark = pytest.mark.django_db(transaction=True)

MINUTES = 60
#: The recogniser's own frames are of a millisecond; so are the times that are kept.
EXACT_S = 0.002


def transcribed(upload, openai, path, **fields):
    openai.listen = tones.hear_words
    video = ended(upload(path, **fields), timeout_s=180)
    assert video.status == "completed", video.error
    return video


def said_words(video):
    segments = Segment.objects.filter(transcript__video=video).order_by("index")
    return [word for segment in segments for word in segment.words]


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory):
    path = tmp_path_factory.mktemp("tones") / "recording.m4a"
    return path, tones.write_recording(path, 10 * MINUTES)


def is_exact(video, starts):
    words = said_words(video)
    assert [text for _, _, text in words] == [f"w{number}" for number in range(len(starts))]
    assert max(abs(word[0] - start) for word, start in zip(words, starts, strict=True)) <= EXACT_S
    ends = [start + tones.WORD_S for start in starts]
    assert max(abs(word[1] - end) for word, end in zip(words, ends, strict=True)) <= EXACT_S


def test_every_word_is_found_at_its_millisecond(upload, worker, openai, ten_minutes):
    path, starts = ten_minutes

    video = transcribed(upload, openai, path)

    is_exact(video, starts)
    parts = video.transcripts.get().parts.all()
    assert len(parts) == 8
    assert video.coverage > 0.95
    assert video.warnings == []
    sent = sum(call.audio_seconds for call in Call.objects.filter(service="transcription"))
    # Two silences of half a minute are in it, and nobody pays for them.
    assert sent < 10 * MINUTES - 50


def test_a_model_without_times_has_its_words_shared_out_between_pauses(
    upload, worker, openai, ten_minutes, settings
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    path, starts = ten_minutes

    video = transcribed(upload, openai, path)

    words = said_words(video)
    assert [text for _, _, text in words] == [f"w{number}" for number in range(len(starts))]
    off = [abs(word[0] - start) for word, start in zip(words, starts, strict=True)]
    assert sorted(off)[len(off) // 2] < 0.3
    assert max(off) < 2
    segments = Segment.objects.filter(transcript__video=video)
    assert {segment.timing for segment in segments} == {"cut"}
    assert max(segment.end - segment.start for segment in segments) <= 15


def test_opus_costs_fewer_bytes_and_no_time(upload, worker, openai, ten_minutes, settings):
    settings.CHRONOS_UPLOAD_CODEC = "opus"
    path, starts = ten_minutes

    video = transcribed(upload, openai, path)

    words = said_words(video)
    assert [text for _, _, text in words] == [f"w{number}" for number in range(len(starts))]
    assert max(abs(word[0] - start) for word, start in zip(words, starts, strict=True)) < 0.05
    assert sum(len(call.audio) for call in openai.transcribed()) * 8 / (9 * MINUTES) < 40_000


def test_the_stored_audio_is_cut_anew_and_the_video_is_not_read_again(
    upload, worker, openai, ten_minutes, settings
):
    path, starts = ten_minutes
    video = transcribed(upload, openai, path)
    kept = video.transcripts.get().audio
    video.file.storage.delete(video.file.name)
    settings.CHRONOS_PARTS_IN_FLIGHT = 1

    video.reprocess(from_stage="transcribe")
    ended(video, timeout_s=60)

    assert video.status == "completed", video.error
    is_exact(video, starts)
    transcript = Transcript.objects.get()
    assert transcript.audio == kept
    assert video.file.storage.exists(kept)
    assert transcript.parts.count() == 5


def test_of_the_parts_that_lie_ready_the_longest_is_sent_first(
    upload, worker, openai, ten_minutes, settings
):
    settings.CHRONOS_PARTS_IN_FLIGHT = 1
    path, _ = ten_minutes
    is_cut = threading.Event()

    def listen(*heard):
        assert is_cut.wait(30)
        return tones.hear_words(*heard)

    openai.listen = listen
    video = upload(path)
    eventually(lambda: AudioPart.objects.count() == 5)
    is_cut.set()

    assert ended(video, timeout_s=60).status == "completed", video.error
    calls = Call.objects.filter(service="transcription").order_by("sent_at")
    _, *lengths = calls.values_list("audio_seconds", flat=True)
    assert len(lengths) == 4
    assert lengths == sorted(lengths, reverse=True)


def variable_bit_rate(source, path):
    """MP3 of changing bit rate, without the header that tells its length."""
    run_ffmpeg("-i", source, "-q:a", "5", "-write_xing", "0", path.with_suffix(".mp3"))
    return path.with_suffix(".mp3")


def lost_packets(source, path):
    """A stream from which a stretch is missing, as after a bad connection."""
    hole = "aselect='not(between(t,100,110))'"
    run_ffmpeg("-i", source, "-af", hole, path.with_suffix(".mkv"))
    return path.with_suffix(".mkv")


def clock_that_began_long_ago(source, path):
    """A broadcast's clock begins anywhere."""
    run_ffmpeg("-i", source, "-output_ts_offset", "70000", path.with_suffix(".ts"))
    return path.with_suffix(".ts")


@pytest.mark.parametrize(
    ("make", "within_s"),
    # MP3 and AAC begin with silence of the encoder's; without a header nobody knows how much.
    [(variable_bit_rate, 0.08), (lost_packets, 0.03), (clock_that_began_long_ago, 0.06)],
)
def test_odd_clocks_do_not_move_words(
    upload, worker, openai, ten_minutes, tmp_path, make, within_s
):
    path, starts = ten_minutes

    video = transcribed(upload, openai, make(path, tmp_path / "odd"))

    recognized = {text: start for start, _, text in said_words(video)}
    missing = {n for n, start in enumerate(starts) if make is lost_packets and 99 < start < 111}
    for number, start in enumerate(starts):
        if number not in missing:
            assert recognized[f"w{number}"] == pytest.approx(start, abs=within_s)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "model"), [(".mp3", "whisper-1"), (".webm", "whisper-1"), (".mp3", "gpt-transcribe")]
)
def test_ninety_minutes_are_as_exact(upload, worker, openai, tmp_path, settings, ending, model):
    settings.CHRONOS_TRANSCRIPTION_MODEL = model
    path = tmp_path / f"recording{ending}"
    starts = tones.write_recording(path, 90 * MINUTES)

    video = transcribed(upload, openai, path)

    segments = list(Segment.objects.filter(transcript__video=video).order_by("index"))
    assert video.transcripts.get().parts.count() > 12
    assert [w for s in segments for w in s.text.split()] == [f"w{n}" for n in range(len(starts))]
    times = [word[0] for segment in segments for word in segment.words]
    off = sorted(abs(at - start) for at, start in zip(times, starts, strict=True))
    if model == "whisper-1":
        assert off[-1] < 0.02
    else:
        assert off[len(off) // 2] < 0.3
        assert off[-1] < 3
