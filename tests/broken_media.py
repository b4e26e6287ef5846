"""A generator of files that no uploader should send: broken, renamed, absurd, hostile.

`every_file` makes the same several hundred files each time. Each says in which states a video of
it may end; nothing else is right.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.media import BEEPS, make_video, run_ffmpeg

SECONDS = 3
DECODED = frozenset({"completed"})
REFUSED = frozenset({"unreadable_media"})
#: What of a damaged file can be decoded is transcribed; where nothing can be, it says so.
DAMAGED = frozenset({"completed", "unreadable_media", "no_audio"})
CONTAINERS = ("mp4", "mkv", "webm", "mp3", "wav", "flac", "ogg", "avi", "ts", "flv")
#: Boxes of MP4 that hold others.
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf")
_SIZES = (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class Broken:
    """A file, and the states (or error codes) in which its video may end."""

    kind: str
    name: str
    content: bytes
    outcomes: frozenset[str]


def every_file(folder: Path, canary: str) -> list[Broken]:
    """Return all files; the playlists name `/etc/passwd`, and the canary's path and address."""
    whole = _whole_files(folder)
    return [
        *_truncated(whole),
        *_cut_at_boxes(whole),
        *_flipped(whole),
        *_wrong_boxes(whole),
        *_wrong_wav_headers(whole["wav"]),
        *_renamed(folder, whole),
        *_many_tracks(folder),
        *_naming_others(folder, canary),
        *_sounding_elsewhere(folder),
    ]


def some_files(files: list[Broken], count: int) -> list[Broken]:
    """Return so many of them, with some of each kind."""
    kinds = sorted({file.kind for file in files})
    by_kind = [[file for file in files if file.kind == kind] for kind in kinds]
    chosen: list[Broken] = []
    for of_kind in by_kind:
        share = max(1, round(count * len(of_kind) / len(files)))
        chosen += of_kind[:: max(1, len(of_kind) // share)][:share]
    return chosen[:count]


def _whole_files(folder: Path) -> dict[str, bytes]:
    video = make_video(folder / "whole.mp4", SECONDS)
    whole = {"mp4": video.read_bytes()}
    whole["fast.mp4"] = make_video(folder / "fast.mp4", SECONDS, faststart=True).read_bytes()
    for ending in CONTAINERS[1:]:
        path = folder / f"whole.{ending}"
        codec = ("-c:v", "libvpx", "-c:a", "libopus") if ending == "webm" else ()
        run_ffmpeg("-i", video, "-ar", 48000 if ending in ("webm", "ogg") else 22050, *codec, path)
        whole[ending] = path.read_bytes()
    return whole


def _truncated(whole: dict[str, bytes]) -> Iterator[Broken]:
    for ending, content in whole.items():
        for percent in (1, 5, 20, 40, 60, 80, 95, 99):
            part = content[: len(content) * percent // 100]
            outcomes = _outcomes_of_cut(content, len(part))
            yield Broken("truncated", f"{percent}% of a file.{ending}", part, outcomes)


def _outcomes_of_cut(content: bytes, length: int) -> frozenset[str]:
    """Nobody can read an MP4 whose index is at its end, and cut off as a whole."""
    return REFUSED if length <= content.find(b"moov") - 4 else DAMAGED


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (position, type) of the boxes of an MP4, also of those inside others."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        yield start, kind
        if kind in _PARENTS:
            yield from _boxes(content, start + 8, start + size)
        start += max(size, 8)


def _cut_at_boxes(whole: dict[str, bytes]) -> Iterator[Broken]:
    for ending in ("mp4", "fast.mp4"):
        content = whole[ending]
        for position, kind in _boxes(content, 0, len(content)):
            if position:
                name = f"cut before {kind.decode(errors='replace')} at {position}.{ending}"
                outcomes = _outcomes_of_cut(content, position)
                yield Broken("cut at a box", name, content[:position], outcomes)


def _flipped(whole: dict[str, bytes]) -> Iterator[Broken]:
    chance = random.Random(1)
    for ending, content in whole.items():
        for bits in (1, 8, 64, 512):
            for number in range(2):
                flipped = bytearray(content)
                for _ in range(bits):
                    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
                name = f"{bits} flipped bits {number}.{ending}"
                yield Broken("flipped bits", name, bytes(flipped), DAMAGED | {"too_long"})


def _wrong_boxes(whole: dict[str, bytes]) -> Iterator[Broken]:
    content = whole["fast.mp4"]
    seen = set()
    for position, kind in _boxes(content, 0, len(content)):
        if kind in seen:
            continue
        seen.add(kind)
        for size in _SIZES if kind in (*_PARENTS, b"mdat", b"stsz") else _SIZES[::2]:
            wrong = content[:position] + struct.pack(">I", size) + content[position + 4 :]
            name = f"{kind.decode(errors='replace')} of {size} bytes.mp4"
            yield Broken("absurd headers", name, wrong, DAMAGED | {"too_long"})


def _wrong_wav_headers(wav: bytes) -> Iterator[Broken]:
    fields = {"channels": (22, "<H"), "rate": (24, "<I"), "bits": (34, "<H"), "size": (40, "<I")}
    for field, (position, form) in fields.items():
        most = 2 ** (8 * struct.calcsize(form)) - 1
        for value in (0, 1, most // 2, most):
            packed = struct.pack(form, value)
            wrong = wav[:position] + packed + wav[position + len(packed) :]
            yield Broken("absurd headers", f"{field} {value}.wav", wrong, DAMAGED | {"too_long"})


def _renamed(folder: Path, whole: dict[str, bytes]) -> Iterator[Broken]:
    picture = folder / "picture.png"
    run_ffmpeg("-f", "lavfi", "-i", "color=c=red:s=32x32:d=1", "-frames:v", "1", picture)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("video.mp4", whole["mp4"])
    others = {
        "nothing": b"",
        "one byte": b"\x00",
        "zeros": bytes(100_000),
        "text": b"This is no video.\n" * 100,
        "html": b"<!doctype html><video src='http://127.0.0.1/x.mp4'></video>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
        "json": b'{"video": true}' * 100,
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "png": picture.read_bytes(),
        "zip": archive.getvalue(),
        "gif": b"GIF89a" + bytes(100),
        "script": b"#!/bin/sh\ntouch /tmp/hacked\n",
    }
    for kind, content in others.items():
        yield Broken("renamed", f"{kind}.mp4", content, REFUSED | {"no_audio"})
    noise = random.Random(2).randbytes(200_000)
    yield Broken("renamed", "noise.mp3", noise, DAMAGED)
    yield Broken("renamed", "a video.mp3", whole["mp4"], DECODED)
    yield Broken("renamed", "a sound.mp4", whole["mp3"], DECODED)


def _many_tracks(folder: Path) -> Iterator[Broken]:
    for count in (2, 100):
        path = folder / f"tracks{count}.mkv"
        sound = ("-f", "lavfi", "-i", BEEPS.format(seconds=SECONDS))
        run_ffmpeg(*sound, *("-map", "0:a") * count, "-c:a", "libmp3lame", path)
        yield Broken("many tracks", f"{count} tracks.mkv", path.read_bytes(), DECODED)


def _naming_others(folder: Path, canary: str) -> Iterator[Broken]:
    """Files of formats that name others, which must not be read."""
    sound = folder / "canary.wav"
    run_ffmpeg("-f", "lavfi", "-i", BEEPS.format(seconds=SECONDS), sound)
    targets = ("/etc/passwd", f"file://{sound}", str(sound), f"{canary}/sound.wav")
    formats = {
        "m3u8": "#EXTM3U\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
        "key.m3u8": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:3,\n{0}\n',
        "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
        "mpd": (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
            '<AdaptationSet mimeType="audio/wav"><Representation id="1"><BaseURL>{}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>"
        ),
        "sdp": "v=0\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
        "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
        "xspf": "<playlist><trackList><location>{}</location></trackList></playlist>",
        "imf.xml": "<CompositionPlaylist><Id>{}</Id></CompositionPlaylist>",
        "ass": "[Script Info]\n[Events]\nDialogue: 0,0:00:00.00,0:00:03.00,,{},0,0,0,,text\n",
        "cue": 'FILE "{}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
        "ffmetadata": ";FFMETADATA1\ntitle={}\n",
    }
    for ending, form in formats.items():
        for number, target in enumerate(targets):
            content = form.format(target).encode()
            outcomes = REFUSED | {"no_audio"}
            yield Broken("naming others", f"list {number}.{ending}", content, outcomes)
            if ending in ("m3u8", "ffconcat"):
                yield Broken("naming others", f"list {number} ({ending}).mp4", content, outcomes)


def _sounding_elsewhere(folder: Path) -> Iterator[Broken]:
    """QuickTime files that say that their samples lie in another file, as reference movies may."""
    for target in ("/etc/passwd", str(folder / "canary.wav")):
        content = reference_movie(folder, target)
        yield Broken("naming others", f"samples of {target[1:]}.mov", content, REFUSED)


def reference_movie(folder: Path, target: str) -> bytes:
    """Return a movie whose samples are the bytes of the file at `target`, an absolute path.

    The entry of its box `dref` is a Macintosh alias record: fixed fields, which may be zeros,
    then (type, length, content) each; type 2 is the whole path, type -1 the end.
    """
    whole = folder / "reference.mov"
    run_ffmpeg("-f", "lavfi", "-i", BEEPS.format(seconds=SECONDS), "-c:a", "pcm_s16le", whole)
    content = whole.read_bytes()
    path = target.encode() + bytes(len(target) % 2)
    record = bytes(150) + struct.pack(">HH", 2, len(path)) + path + struct.pack(">hH", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    boxes = {kind: position for position, kind in _boxes(content, 0, len(content))}
    begin = boxes[b"dref"] + 16
    (length,) = struct.unpack(">I", content[begin : begin + 4])
    movie = bytearray(content[:begin] + entry + content[begin + length :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        (size,) = struct.unpack_from(">I", movie, boxes[kind])
        struct.pack_into(">I", movie, boxes[kind], size + len(entry) - length)
    return bytes(movie)
