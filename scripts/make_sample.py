"""Make sample/lecture.mp4: a short lecture on three topics, spoken by flite over titled slides.

Needs Debian's `flite` and `fonts-dejavu-core`; ffmpeg comes with the project's requirements.
Run it from the project's folder: `.venv/bin/python scripts/make_sample.py`.
"""

from __future__ import annotations

import subprocess
import tempfile
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
        "This process is called photosynthesis, and almost all life on earth depends on it.",
    ],
    "2. The water of ancient Rome": [
        "The second topic is the water supply of ancient Rome.",
        "Roman engineers built long stone channels that carried water "
        "from the mountains to the city.",
        "These channels are called aqueducts.",
        "The slope was very gentle, only a few inches for every hundred feet.",
        "Great arches carried the water across the valleys.",
        "At the end, pipes of lead delivered it to fountains and public baths.",
    ],
    "3. Money that grows": [
        "The third topic is compound interest.",
        "When you leave money in a bank, the bank pays you interest every year.",
        "In the second year you also receive interest on the interest of the first year.",
        "After many years the savings grow faster and faster.",
        "The same rule makes a debt dangerous, because every loan grows in the same way.",
        "So start to save early, and pay your debts soon.",
    ],
}


def main() -> None:
    """Speak every topic, draw its slide, and join them into one H.264/AAC file."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    with tempfile.TemporaryDirectory() as folder:
        clips = [
            _make_clip(ffmpeg, Path(folder), number, title, sentences)
            for number, (title, sentences) in enumerate(TOPICS.items())
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


def _make_clip(ffmpeg: str, folder: Path, number: int, title: str, sentences: list[str]) -> Path:
    speech, text, clip = (folder / f"{number}.{kind}" for kind in ("wav", "txt", "mov"))
    seconds = _speak(folder, sentences, speech)
    text.write_text(title)
    slide = (
        f"drawtext=fontfile={FONT}:textfile={text}:fontsize=34:fontcolor=white"
        ":x=(w-text_w)/2:y=(h-text_h)/2"
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


def _speak(folder: Path, sentences: list[str], target: Path) -> float:
    """Write the sentences, each followed by a pause, to a WAV file; return its seconds."""
    with wave.open(str(target), "wb") as speech:
        for sentence in sentences:
            subprocess.run(
                [
                    "flite",
                    "-voice",
                    "rms",
                    "-t",
                    sentence,
                    "-o",
                    folder / "sentence.wav",
                ],
                check=True,
            )
            with wave.open(str(folder / "sentence.wav")) as spoken:
                if not speech.getnframes():
                    speech.setparams(spoken.getparams())
                speech.writeframes(spoken.readframes(spoken.getnframes()))
                last = sentence is sentences[-1]
                silence_s = TOPIC_PAUSE_S if last else SENTENCE_PAUSE_S
                speech.writeframes(bytes(2 * int(silence_s * spoken.getframerate())))
        return speech.getnframes() / speech.getframerate()


if __name__ == "__main__":
    main()
