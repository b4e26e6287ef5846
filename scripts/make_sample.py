"""Make sample/lecture.mp4: a short lecture on three topics, spoken by flite, read along on slides.

Needs Debian's `flite` and `fonts-dejavu-core`; ffmpeg comes with the project's requirements.
Run it from the project's folder: `.venv/bin/python scripts/make_sample.py`.
"""

from __future__ import annotations

import subprocess
import tempfile
import textwrap
import wave
from pathlib import Path

import imageio_ffmpeg

SAMPLE = Path(__file__).resolve().parent.parent / "sample" / "lecture.mp4"
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
SENTENCE_PAUSE_S = 0.6
TOPIC_PAUSE_S = 1.6

TOPICS = {
    "1. How plants make sugar": [
        "Welcome to this short lecture.",
        "The first topic is how plants make food from the light of the sun.",
        "Every green leaf contains a pigment that absorbs red and blue light.",
        "Energy from the sun splits water into oxygen and hydrogen.",
        "The oxygen leaves the plant, and the hydrogen helps to turn carbon dioxide into sugar.",
        "This process is called photosynthesis, and nearly every living thing depends on it.",
        "When night falls, the leaves have to rest until the morning.",
        "A tree keeps what it does not need at once in its roots and its wood.",
    ],
    "2. The water of ancient Rome": [
        "The second topic is the water supply of ancient Rome.",
        "The Romans built long stone channels that carried water from the mountains to the city.",
        "These channels are called aqueducts.",
        "The slope was very gentle, only a few inches for every hundred feet.",
        "Great arches carried the water across the valleys.",
        "Engineers used simple tools to keep the slope even over many miles.",
        "At the end, the water flowed into fountains, gardens and public baths.",
        "Some of these bridges still stand today, two thousand years later.",
    ],
    "3. Money that grows": [
        "The third topic is compound interest.",
        "When you leave money in a bank, the bank pays you interest every year.",
        "In the second year you also receive interest on the interest of the first year.",
        "After many years the savings grow faster and faster.",
        "At the end, a large part of the money will be interest.",
        "The same rule makes a debt dangerous, because what you owe grows in the same way.",
        "So start to save early, and pay your debts soon.",
    ],
}


def main() -> None:
    """Speak every sentence over its slide, and join them into one H.264/AAC file."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    spoken = [
        (title, sentence, TOPIC_PAUSE_S if sentence is sentences[-1] else SENTENCE_PAUSE_S)
        for title, sentences in TOPICS.items()
        for sentence in sentences
    ]
    with tempfile.TemporaryDirectory() as folder:
        clips = [
            _make_clip(ffmpeg, Path(folder), number, *each) for number, each in enumerate(spoken)
        ]
        listing = Path(folder, "clips.txt")
        listing.write_text("".join(f"file '{clip}'\n" for clip in clips))
        subprocess.run(
            [
                *(ffmpeg, "-y", "-v", "error", "-f", "concat", "-safe", "0", "-i", listing),
                *("-c:v", "copy", "-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart", SAMPLE),
            ],
            check=True,
        )
    print(f"{SAMPLE}: {SAMPLE.stat().st_size} bytes")


def _make_clip(
    ffmpeg: str, folder: Path, number: int, title: str, sentence: str, pause_s: float
) -> Path:
    speech, heading, text, clip = (
        folder / f"{number}.{kind}" for kind in ("wav", "heading", "text", "mov")
    )
    seconds = _speak(folder, sentence, pause_s, speech)
    heading.write_text(title)
    text.write_text(textwrap.fill(sentence, 36))
    slide = (
        f"drawtext=fontfile={FONT}:textfile={heading}:fontsize=30:fontcolor=0xa8dadc:x=40:y=50,"
        f"drawtext=fontfile={FONT}:textfile={text}:fontsize=24:fontcolor=white:line_spacing=12"
        ":x=40:y=140"
    )
    subprocess.run(
        [
            *(ffmpeg, "-y", "-v", "error", "-f", "lavfi", "-i", "color=c=0x1d3557:s=640x360:r=10"),
            *("-i", speech, "-vf", slide, "-t", f"{seconds:.1f}"),
            *("-c:v", "libx264", "-preset", "slow", "-crf", "30", "-pix_fmt", "yuv420p"),
            *("-c:a", "pcm_s16le", "-ar", "44100", clip),
        ],
        check=True,
    )
    return clip


def _speak(folder: Path, sentence: str, pause_s: float, target: Path) -> float:
    """Write a sentence, and the pause after it, to a WAV file; return its seconds."""
    said = folder / "sentence.wav"
    subprocess.run(["flite", "-voice", "rms", "-t", sentence, "-o", said], check=True)
    with wave.open(str(target), "wb") as speech, wave.open(str(said)) as spoken:
        speech.setparams(spoken.getparams())
        speech.writeframes(spoken.readframes(spoken.getnframes()))
        speech.writeframes(bytes(2 * int(pause_s * spoken.getframerate())))
        return speech.getnframes() / speech.getframerate()


if __name__ == "__main__":
    main()
