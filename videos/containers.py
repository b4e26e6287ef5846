"""What ffmpeg says of a file: its container, tracks and damage. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import langcodes
import langcodes.tag_parser

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
    r"|ended prematurely|Read error|Error during demuxing|size and duration do not match",
)
#: Containers whose clock may begin anywhere: ffmpeg has it begin with the first stream in use,
#: so that audio which starts after the pictures would start at 0.
_ANY_START = {"mpegts", "mpeg", "ogg"}


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


@dataclass(frozen=True)
class Probe:
    """What a file says of itself; `duration_ms` is None where it does not say."""

    duration_ms: int | None
    tracks: Sequence[Track]
    #: Whether the duration is a guess from the bytes and the bit rate at the beginning.
    is_estimated: bool = False

    @property
    def announced_ms(self) -> int | None:
        """How long the file says that it lasts, unless that is a guess."""
        return None if self.is_estimated else self.duration_ms

    def track_for(self, language: str) -> Track:
        """Return which track to hear: the one in the language, else the default, else the first.

        Raises:
            NoAudio: if there is none.
        """
        if not self.tracks:
            raise NoAudio(
                "The file has no audio track, so there is nothing to transcribe. "
                "Export the video again with sound, and upload that."
            )
        in_language = (track for track in self.tracks if language and track.language == language)
        default = (track for track in self.tracks if track.is_default)
        return next(in_language, None) or next(default, self.tracks[0])


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
    needs_pictures = container[1] in _ANY_START and bool(_PICTURES.search(said))
    tracks = {
        found["index"]: Track(
            int(found["index"]),
            found["codec"],
            _iso_639_1(found["language"]),
            "(default)" in found["rest"],
            needs_pictures,
        )
        for found in _AUDIO.finditer(said)
    }
    duration = _DURATION.search(said)
    if duration is None:
        return Probe(None, list(tracks.values()))
    hours, minutes, seconds = (float(value) for value in duration.groups())
    duration_ms = round((hours * 3600 + minutes * 60 + seconds) * 1000)
    return Probe(duration_ms, list(tracks.values()), _ESTIMATED in said)


def _iso_639_1(language: str | None) -> str:
    """Turn what a container says, mostly ISO 639-2, into what a creator chooses."""
    if not language or language == "und":
        return ""
    try:
        # Of two that share a track ("eng,fra"), the first; of "en-US", the language alone.
        return langcodes.standardize_tag(re.split("[-_,]", language)[0])
    except langcodes.tag_parser.LanguageTagError:
        return ""


def _why_unreadable(said: str) -> str:
    if "whitelist" in said:
        reason = "It is no video or audio, or a format that names other files, as playlists do."
    elif "moov atom not found" in said:
        reason = "It has no index: it is no MP4, or its upload was cut off."
    else:
        reason = "It is no video or audio file that ffmpeg can read."
    return f"{reason} Upload the original file again, or export it as MP4."


def tells_damage(line: str) -> bool:
    """Whether ffmpeg complains, in a line of its log, of missing or damaged data."""
    return bool(_BROKEN.search(line))
