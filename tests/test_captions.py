"""Captions that players read, whatever was said."""

from videos.captions import as_srt, as_txt, as_vtt
from videos.stitching import HeardSegment

CUES = [
    HeardSegment(0.0, 1.25, "Hello <b>there</b> & you"),
    HeardSegment(3661.007, 363_599.999, "one --> two\n\nthree"),
]


def test_srt_numbers_cues_and_lets_hours_pass_99():
    assert as_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,250\nHello <b>there</b> & you\n\n"
        "2\n01:01:01,007 --> 100:59:59,999\none → two three\n\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert as_vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.250\nHello &lt;b&gt;there&lt;/b&gt; &amp; you\n\n"
        "01:01:01.007 --> 100:59:59.999\none --&gt; two three\n\n"
    )


def test_text_has_a_line_for_each_cue():
    assert as_txt(CUES[:1]) == "Hello <b>there</b> & you\n"
