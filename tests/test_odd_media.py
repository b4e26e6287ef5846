"""Odd media of real users: every word is recognized in its second, or it is told."""

import numpy as np
import pytest
import soundfile

from tests import tones
from tests.conftest import ended
from tests.media import run_ffmpeg
from videos.models import Segment

pytestmark = pytest.mark.django_db(transaction=True)

#: Encoders and seams between files cost that much, and words that lie across the seam.
NEAR_S = 0.15
HALF_S = 30


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """A minute of tones as a whole, and as two halves; when its words begin."""
    folder = tmp_path_factory.mktemp("minute")
    whole = folder / "whole.wav"
    starts = tones.write_recording(whole, 2 * HALF_S)
    run_ffmpeg("-i", whole, "-t", HALF_S, folder / "a.wav")
    run_ffmpeg("-ss", HALF_S, "-i", whole, folder / "b.wav")
    return folder, starts


def recognized(upload, openai, path, **fields):
    """Transcribe; return the video, and how far each word is off, by its number."""
    openai.listen = tones.hear_words
    video = ended(upload(path, **fields), timeout_s=120)
    assert video.status == "completed", video.error
    words = Segment.objects.filter(transcript__video=video).order_by("index")
    return video, {int(text[1:]): start for row in words for start, _, text in row.words}


def codes(video):
    return [warning["code"] for warning in video.warnings]


def is_whole(found, starts):
    """All words but those at the seam, each at its time."""
    at_seam = [n for n, start in enumerate(starts) if abs(start - HALF_S) < 0.5]
    missing = [n for n in range(len(starts)) if n not in found and n not in at_seam]
    off = [abs(found[n] - starts[n]) for n in found if n < len(starts) and n not in at_seam]
    return not missing and max(off) < NEAR_S


def joined(folder, name, *options_of_each):
    """Encode both halves, each with its options, and join the files byte by byte."""
    content = b""
    for half, options in zip(("a", "b"), options_of_each, strict=True):
        path = folder / f"{half}-{name}"
        run_ffmpeg("-i", folder / f"{half}.wav", *options, path)
        content += path.read_bytes()
    whole = folder / name
    whole.write_bytes(content)
    return whole


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("channels.aac", ("-ar", 44_100), ("-ar", 44_100, "-ac", 2)),
        ("rate.aac", ("-ar", 44_100), ("-ar", 22_050)),
        ("channels.ts", ("-c:a", "mp2", "-ar", 48_000), ("-c:a", "mp2", "-ar", 48_000, "-ac", 2)),
        ("channels.mp3", ("-ar", 44_100), ("-ar", 44_100, "-ac", 2)),
        ("back.mp3", ("-ar", 44_100, "-ac", 2), ("-ar", 44_100)),
        ("same.mp3", ("-b:a", "64k"), ("-b:a", "64k")),
        ("chained.ogg", ("-c:a", "libvorbis"), ("-c:a", "libvorbis")),
    ],
)
def test_a_format_that_changes_in_the_middle_moves_no_word(
    upload, worker, openai, minute, name, first, second
):
    folder, starts = minute

    video, found = recognized(upload, openai, joined(folder, name, first, second))

    assert is_whole(found, starts)
    assert video.duration_s == pytest.approx(2 * HALF_S, abs=0.5)
    assert codes(video) == []


@pytest.mark.parametrize(
    ("name", "second"),
    [
        *((f"parts.{kind}", ()) for kind in ("m4a", "mka", "wav", "flac", "avi", "webm")),
        ("channels.ogg", ("-ac", 2)),
        ("rate.mka", ("-ar", 8_000)),
    ],
)
def test_parts_joined_without_muxing_are_not_lost_in_silence(
    upload, worker, openai, minute, name, second
):
    folder, starts = minute

    video, found = recognized(upload, openai, joined(folder, name, (), second))

    assert is_whole(found, starts) or codes(video) == ["truncated_media"]


def two_channels(path, left, right):
    soundfile.write(path, np.stack([left, right], axis=1), 16_000)
    return path


@pytest.mark.parametrize("level", [-1.0, -0.7])
def test_channels_that_cancel_each_other_are_transcribed(upload, worker, openai, minute, level):
    folder, starts = minute
    samples, _ = soundfile.read(folder / "whole.wav", dtype="float32")

    video, found = recognized(
        upload, openai, two_channels(folder / f"{level}.wav", samples, level * samples)
    )

    assert is_whole(found, starts)
    assert codes(video) == []


def test_channels_that_cancel_for_a_while_are_transcribed(upload, worker, openai, minute):
    folder, starts = minute
    samples, _ = soundfile.read(folder / "whole.wav", dtype="float32")
    right = np.concatenate([samples[: HALF_S * 16_000], -samples[HALF_S * 16_000 :]])

    _, found = recognized(upload, openai, two_channels(folder / "half.wav", samples, right))

    assert is_whole(found, starts)


def test_what_is_said_in_one_channel_alone_is_transcribed(upload, worker, openai, minute):
    folder, starts = minute
    samples, _ = soundfile.read(folder / "whole.wav", dtype="float32")

    _, found = recognized(upload, openai, two_channels(folder / "one.wav", 0 * samples, samples))

    assert is_whole(found, starts)


def tracks(folder, name, *sources, options=()):
    path = folder / name
    inputs = [argument for source in sources for argument in ("-i", source)]
    maps = [argument for number in range(len(sources)) for argument in ("-map", number)]
    run_ffmpeg(*inputs, *maps, "-c:a", "aac", *options, path)
    return path


def in_turns(folder):
    """Two microphones: the one hears the first half, the other the second."""
    whole, _ = soundfile.read(folder / "whole.wav", dtype="float32")
    here, there = whole.copy(), whole.copy()
    here[HALF_S * 16_000 :] = 0
    there[: HALF_S * 16_000] = 0
    for name, samples in (("here.wav", here), ("there.wav", there)):
        soundfile.write(folder / name, samples, 16_000)
    return folder / "here.wav", folder / "there.wav"


def test_two_microphones_in_two_tracks_are_transcribed_together(upload, worker, openai, minute):
    folder, starts = minute

    video, found = recognized(upload, openai, tracks(folder, "two.mkv", *in_turns(folder)))

    assert is_whole(found, starts)
    assert codes(video) == []


def test_a_track_of_silence_before_the_voice_hides_nothing(upload, worker, openai, minute):
    folder, starts = minute
    silence = folder / "silence.wav"
    soundfile.write(silence, np.zeros(16_000 * 60, np.float32), 16_000)

    _, found = recognized(
        upload, openai, tracks(folder, "later.mkv", silence, folder / "whole.wav")
    )

    assert is_whole(found, starts)


def test_a_track_that_is_left_out_is_named(upload, worker, openai, minute):
    folder, starts = minute
    in_turns(folder)
    named = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fre")
    path = tracks(folder, "languages.mkv", folder / "whole.wav", folder / "here.wav", options=named)

    video, found = recognized(upload, openai, path)

    assert is_whole(found, starts)
    assert codes(video) == ["audio_left_out"]
    assert "track 1 (fr, aac)" in video.warnings[0]["message"]


def test_a_comment_on_the_program_is_not_mixed_into_it(upload, worker, openai, minute):
    folder, starts = minute
    here, _ = in_turns(folder)
    path = tracks(
        folder,
        "comment.mkv",
        folder / "whole.wav",
        here,
        options=("-disposition:a:1", "comment"),
    )

    video, found = recognized(upload, openai, path)

    assert is_whole(found, starts)
    assert codes(video) == ["audio_left_out"]


def test_sound_that_ends_before_the_pictures_is_not_cut_off(upload, worker, openai, minute):
    folder, _ = minute
    path = folder / "credits.mp4"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=60", "-i", folder / "a.wav"),
        *("-c:a", "aac", path),
    )

    video, found = recognized(upload, openai, path)

    assert len(found) > 40
    assert codes(video) == []


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_of_a_live_recorder_is_not_cut_off(upload, worker, openai, minute, size):
    folder, starts = minute
    content = bytearray((folder / "whole.wav").read_bytes())
    data = content.index(b"data") + 4
    content[data : data + 4] = content[4:8] = size.to_bytes(4, "little")
    path = folder / f"live-{size}.wav"
    path.write_bytes(content)

    video, found = recognized(upload, openai, path)

    assert is_whole(found, starts)
    assert codes(video) == []


PCM = ("-c:a", "pcm_s16le")


def of_codec(path, name):
    """Have the first track be of a codec that ffmpeg does not know."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"sowt", name, 1))
    return path


def test_a_first_track_that_cannot_be_decoded_hides_no_other(upload, worker, openai, minute):
    folder, starts = minute
    path = of_codec(
        tracks(folder, "spatial.mov", folder / "b.wav", folder / "whole.wav", options=PCM), b"apac"
    )

    video, found = recognized(upload, openai, path)

    assert is_whole(found, starts)
    assert codes(video) == []


def test_a_file_of_codecs_that_nobody_knows_says_so(upload, worker, minute):
    folder, _ = minute
    path = of_codec(tracks(folder, "unknown.mov", folder / "b.wav", options=PCM), b"xyzw")

    video = ended(upload(path))

    assert video.error_code == "unreadable_media"
    assert "AAC" in video.error


def test_a_title_cannot_speak_for_the_decoder(upload, worker, openai, minute):
    """ffmpeg prints a file's own words, and we read long ones in several pieces."""
    folder, starts = minute
    forged = "[Parsed_ashowinfo_3 @ 0x1] n:0 pts:90000000 nb_samples:1 Invalid data found "
    title = "\r".join(["A" * 200, "B" * 150, "C" * 126 + forged])
    path = tracks(
        folder, "title.mkv", folder / "whole.wav", options=("-metadata", f"title={title}")
    )

    video, found = recognized(upload, openai, path)

    assert is_whole(found, starts)
    assert codes(video) == []
