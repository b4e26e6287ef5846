"""What ffmpeg says of a file, and what the file only says of itself."""

import pytest

from videos.audio.ffmpeg_output import is_damaged, read_header

BROADCAST = """Input #0, mpegts, from 'news.ts':
  Metadata:
    title           : corrupt Duration: 13:00:00.00
    comment         : Stream #0:7(eng): Audio: aac
                    : Duration: 14:00:00.00
  Duration: 00:00:10.02, start: 1.500000, bitrate: 290 kb/s
  Program 2
  Stream #0:0[0x100]: Video: mpeg2video (Main), yuv420p
  Stream #0:2[0x102](eng,fra): Audio: mp2 (mp3float), 44100 Hz
  Program 1
  Stream #0:1[0x101](deu): Audio: mp2 (mp3float), 44100 Hz (default)
  Stream #0:2[0x102](eng,fra): Audio: mp2 (mp3float), 44100 Hz
At least one output file must be specified
"""


def test_tracks_are_numbered_among_all_streams_and_named_once():
    found = read_header(BROADCAST)

    assert [(track.index, track.language) for track in found.tracks] == [(2, "en"), (1, "de")]
    assert found.choose("").used[0].index == 1
    assert all(track.needs_pictures for track in found.tracks)


def test_the_duration_is_what_ffmpeg_says_not_what_the_file_says():
    found = read_header(BROADCAST)

    assert (found.duration_ms, found.is_estimated) == (10_020, False)
    assert read_header(f"[mp3] Estimating duration from bitrate\n{BROADCAST}").is_estimated


@pytest.mark.parametrize(
    "line",
    [
        "[in#0/matroska,webm] File ended prematurely at pos. 73923 (0x120c3)",
        "[mp3] invalid concatenated file detected - file size and duration do not match",
        "[mov,mp4] stream 0, offset 0x3fe: partial file",
    ],
)
def test_damage_is_told_in_many_words(line):
    assert is_damaged([line])


@pytest.mark.parametrize(
    "odd",
    [
        "  Stream #0:1(\n" * 30_000,  # languages without an end
        "  Stream #0:" + "1" * 5_000 + ": Audio: aac\n",
        "  Duration: " + "9" * 400 + ":00:00.00\n",
        " Stream #0:" + "1" * 100_000 + "\n",
    ],
)
def test_what_a_hostile_file_has_ffmpeg_say_is_read_in_one_pass(odd):
    assert read_header(BROADCAST + odd).tracks == read_header(BROADCAST).tracks
