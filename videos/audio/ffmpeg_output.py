"""What ffmpeg says of a file: its container, tracks and damage. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from videos.exceptions import Misconfigured, NoAudio, UnreadableMedia

#: What the file says of itself is indented further than what ffmpeg says of it.
_FORMAT = re.compile(r"^Input #0, (\S+), from", re.MULTILINE)
_DURATION = re.compile(r"^  Duration: (\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_ESTIMATED = "Estimating duration from bitrate"
_AUDIO = re.compile(
    r"^  (?:  )?Stream #0:(?P<index>\d{1,6})(?:\[\w+\])?(?:\((?P<language>[^)\n]*)\))?"
    r": Audio: (?P<codec>\w+)(?P<rest>.*)$",
    re.MULTILINE,
)
_PICTURES = re.compile(r"^ +Stream #0:\d{1,6}\b.*: Video: ", re.MULTILINE)
_BROKEN = re.compile(
    r"partial file|[Tt]runcat|Invalid data found|[Ee]rror while decoding|End of file|corrupt"
    r"|ended prematurely|Read error|Error during demuxing|size and duration do not match"
    r"|duplicated MOOV Atom|extends beyond end of segment",
)
#: More frames than this are lost where data is damaged; where files were joined, one or two.
_MAX_LOST_FRAMES = 2
_LOST_FRAME = "Error submitting packet to decoder"
_NO_FRAME = "Header missing"
_WITHOUT_SIZE = "Ignoring maximum wav data size"
_CORRUPT = "corrupt"
_SHOWN_FRAME = re.compile(
    r"\[Parsed_ashowinfo_\d+ @ 0x[0-9a-f]+\] n:\d+ pts:(-?\d{1,15}|NOPTS) .*nb_samples:(\d{1,5}) "
)
#: What a track is beside the program itself (ffmpeg, dispositions).
_ASIDE = re.compile(r"\((?:comment|visual impaired|descriptions|karaoke|lyrics)\)")
_TAG = re.compile(r" \((\w{1,8}) / 0x")
_LAYOUT = re.compile(r"\d+ Hz, ([^,\n]{1,40})")
#: The sound of a phone's video for head-tracked headphones; the same is in another track.
_SPATIAL = {"apac", "apple_apac"}
#: Containers whose clock may begin anywhere: ffmpeg has it begin with the first stream in use,
#: so that audio which starts after the pictures would start at 0.
_ANY_START = {"mpegts", "mpeg", "ogg"}
#: Raw streams: ffmpeg makes their times up, and wrongly where the format changes in the middle.
_WITHOUT_CLOCK = {"aac", "mp3", "ac3", "eac3", "dts", "amr", "flac", "wav", "tta", "ape", "wv"}


@dataclass(frozen=True)
class Track:
    """An audio track; `language` is ISO 639-1 where there is such a code, or empty."""

    #: Its number among all streams of the file.
    index: int
    codec: str
    language: str
    is_default: bool
    #: Whether its clock is right only while the file's pictures are read, too.
    needs_pictures: bool = False
    #: Whether the container says when each packet is played; else they follow one another.
    has_clock: bool = True
    #: Such as "stereo"; empty where the file does not say.
    layout: str = ""
    #: Whether it is a comment on the program, or a description of its pictures.
    is_aside: bool = False
    is_decodable: bool = True

    def __str__(self) -> str:
        named = f"{self.language or 'no language'}, {self.codec}"
        return f"track {self.index} ({named})"


@dataclass(frozen=True)
class Choice:
    """Which tracks are transcribed, all together, and which are not."""

    used: tuple[Track, ...]
    left_out: tuple[Track, ...]


@dataclass(frozen=True)
class Probe:
    """What a file says of itself; `duration_ms` is None where it does not say."""

    duration_ms: int | None
    tracks: Sequence[Track]
    #: Whether the duration is a guess from the bytes and the bit rate at the beginning.
    is_estimated: bool = False
    has_pictures: bool = False

    @property
    def announced_ms(self) -> int | None:
        """How long the file says that it lasts, unless that is a guess."""
        return None if self.is_estimated else self.duration_ms

    def choose(self, language: str) -> Choice:
        """Return what to transcribe: the tracks in the language, else those like the default one.

        Recorders write a track for each microphone, and no languages: all of them are used. Films
        have a track for each language, and the same in several layouts: one of these is.

        Raises:
            NoAudio: if there is no track.
            UnreadableMedia: if none can be decoded.
        """
        decodable = [track for track in self.tracks if track.is_decodable]
        if not self.tracks:
            raise NoAudio(
                "The file has no audio track, so there is nothing to transcribe. "
                "Export the video again with sound, and upload that."
            )
        if not decodable:
            codecs = ", ".join(sorted({track.codec for track in self.tracks}))
            raise UnreadableMedia(
                f"The audio is in a format that cannot be decoded here ({codecs}). Export the "
                "video again, with AAC for example."
            )
        main = [track for track in decodable if not track.is_aside] or decodable
        in_language = [track for track in main if language and track.language == language]
        likely = in_language or main
        first = next((track for track in likely if track.is_default), likely[0])
        used = tuple(
            track
            for track in likely
            if track.language == first.language
            and (not first.language or track.layout == first.layout)
        )
        left_out = (
            track for track in self.tracks if track not in used and track.codec not in _SPATIAL
        )
        return Choice(used, tuple(left_out))


def read_header(said: str) -> Probe:
    """Return what ffmpeg says of a file that it has opened.

    Raises:
        UnreadableMedia: if it could make nothing of the file.
        Misconfigured: if it was not allowed to read the file.
    """
    container = _FORMAT.search(said)
    if container is None and "Permission denied" in said:
        raise Misconfigured(
            "The worker's ffmpeg may not read the file. Let the worker run as the user who owns "
            "the files, then reprocess the video."
        )
    if container is None:
        raise UnreadableMedia(_why_unreadable(said))
    has_pictures = bool(_PICTURES.search(said))
    needs_pictures = container[1] in _ANY_START and has_pictures
    tracks = {
        found["index"]: Track(
            int(found["index"]),
            _codec(found["codec"], found["rest"]),
            _iso_639_1(found["language"]),
            "(default)" in found["rest"],
            needs_pictures,
            container[1] not in _WITHOUT_CLOCK,
            layout[1] if (layout := _LAYOUT.search(found["rest"])) else "",
            _ASIDE.search(found["rest"]) is not None,
        )
        for found in _AUDIO.finditer(said)
    }
    duration = _DURATION.search(said)
    if duration is None:
        return Probe(None, list(tracks.values()), has_pictures=has_pictures)
    hours, minutes, seconds = (float(value) for value in duration.groups())
    duration_ms = round((hours * 3600 + minutes * 60 + seconds) * 1000)
    return Probe(duration_ms, list(tracks.values()), _ESTIMATED in said, has_pictures)


def _codec(name: str, rest: str) -> str:
    """Return a codec's name, or of one that ffmpeg does not know, what the container calls it."""
    tag = _TAG.match(rest)
    return tag[1] if name == "none" and tag else name


def _iso_639_1(language: str | None) -> str:
    """Turn what a container says, mostly ISO 639-2, into what a creator chooses."""
    if not language or language == "und":
        return ""
    import langcodes.tag_parser  # Its tables are long, and few processes look into a file.

    try:
        # Of two that share a track ("eng,fra"), the first; of "en-US", the language alone.
        return langcodes.standardize_tag(re.split("[-_,]", language)[0])
    except langcodes.tag_parser.LanguageTagError:
        return ""


def _why_unreadable(said: str) -> str:
    if "whitelist" in said:
        reason = "It is not video or audio, or a format that names other files, as playlists do."
    elif "moov atom not found" in said:
        reason = "It has no index: it is no MP4, or its upload was cut off."
    else:
        reason = "It is not a video or audio file that ffmpeg can read."
    return f"{reason} Upload the original file again, or export it as MP4."


@dataclass(frozen=True)
class Frame:
    """Decoded audio that is about to come: how many samples, and where the first one lies.

    `start` counts samples from the beginning of the file; None: where the last frame ended.
    """

    start: int | None
    samples: int


def read_frame(line: str) -> Frame | None:
    """Return what a line of ffmpeg's `ashowinfo` says, or None for any other line."""
    found = _SHOWN_FRAME.match(line)
    if found is None:
        return None
    return Frame(int(found[1]) if found[1] != "NOPTS" else None, int(found[2]))


def is_damaged(said: Iterable[str]) -> bool:
    """Whether ffmpeg complains, in its log, of more missing or damaged data than a seam's.

    A live recorder's WAV says no size, and so seems to break off in its last packet.
    """
    own = [line for line in said if not line.startswith((" ", "Input #", "Output #"))]
    is_live = any(_WITHOUT_SIZE in line for line in own)
    lost_frames = sum(_LOST_FRAME in line for line in own)
    broken = [
        line
        for line in own
        if _BROKEN.search(line)
        and not any(mark in line for mark in (_LOST_FRAME, _NO_FRAME))
        and not (is_live and _CORRUPT in line)
    ]
    return bool(broken) or lost_frames > _MAX_LOST_FRAMES
