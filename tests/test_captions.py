"""Captions that players read, whatever was said; and those that people bring."""

import io
from contextlib import suppress

import pytest
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from videos.text import caption_reader, encodings
from videos.text.caption_writer import MAX_COLUMNS, as_srt, as_txt, as_vtt, laid_out
from videos.text.captions import BadCaptions, Caption


def read(text):
    """The cues of a text, whatever had to be mended."""
    cues, _ = caption_reader.read(text)
    return cues


def decode(content):
    """The text of a file, whatever was guessed."""
    text, _ = encodings.decode(content)
    return text


SRT_HEAD = "1\n00:00:01,000 --> 00:00:04,000\n"
CUES = [
    Caption(0.0, 1.25, "Hello <b>there</b> & you"),
    Caption(3661.007, 363_599.999, "one --> two three", speaker="Ada & Co"),
]


def test_srt_numbers_cues_and_lets_hours_pass_99():
    assert as_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,250\nHello ‹b›there‹/b› & you\n\n"
        "2\n01:01:01,007 --> 100:59:59,999\none → two three\n\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert as_vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.250\nHello &lt;b&gt;there&lt;/b&gt; &amp; you\n\n"
        "01:01:01.007 --> 100:59:59.999\n<v Ada &amp; Co>one --&gt; two three\n\n"
    )


def test_text_has_a_line_for_each_cue():
    assert as_txt(CUES[:1]) == "Hello <b>there</b> & you\n"


LONG = (
    "When light falls on a leaf, the plant takes water from its roots and carbon dioxide from "
    "the air, and out of these two it builds sugar and sets oxygen free."
)


def test_a_long_segment_becomes_cues_of_two_short_lines():
    cues = list(laid_out([Caption(10.0, 20.0, LONG)]))

    assert [cue.text.count("\n") for cue in cues] == [1, 1]
    assert all(len(line) <= MAX_COLUMNS for cue in cues for line in cue.text.split("\n"))
    assert " ".join(cue.text.replace("\n", " ") for cue in cues) == LONG
    assert (cues[0].start, cues[-1].end) == (10.0, 20.0)
    assert cues[0].end == cues[1].start == pytest.approx(14.84, abs=0.01)


@pytest.mark.parametrize("count", range(2, len(LONG.split()) + 1))
def test_no_word_flashes_up_by_itself(count):
    text = " ".join(LONG.split()[:count])

    cues = list(laid_out([Caption(10.0, 20.0, text)]))

    lengths = [len(cue.text) for cue in cues]
    assert min(lengths) * 2 > max(lengths)


def test_the_times_of_cues_are_those_of_their_words():
    words = [(10 + n / 100, 10 + n / 100, word) for n, word in enumerate(LONG.split())]

    first, second = laid_out([Caption(10.0, 20.0, LONG, words=words)])

    assert second.start == first.end == words[len(first.text.split())][0]


def test_a_script_without_spaces_is_broken_by_its_width():
    (cue,) = laid_out([Caption(0, 4, "知" * 30)])

    assert [len(line) for line in cue.text.split("\n")] == [21, 9]


text = st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=60)
said = st.lists(text, min_size=1, max_size=20).map(" ".join)
spoken = st.lists(
    st.builds(
        lambda start, length, text: Caption(start / 1000, (start + length) / 1000, text),
        st.integers(0, 400 * 3_600_000),
        st.integers(1, 60_000),
        said,
    ),
    min_size=1,
    max_size=5,
)


def lines_of(cues):
    """What a reader makes of captions: milliseconds, and text in one line."""
    return [
        (round(cue.start * 1000), round(cue.end * 1000), " ".join(cue.text.split())) for cue in cues
    ]


@given(spoken)
@example([Caption(0, 1, "write {\\an8} and C:\\New")])
def test_what_is_written_as_vtt_is_read_again_the_same(cues):
    cues = sorted(cues, key=lambda cue: (cue.start, cue.end))

    assert lines_of(read(as_vtt(cues))) == sorted(lines_of(laid_out(cues)), key=lambda c: c[:2])


def seconds(clock):
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


PLAIN = [
    Caption(0.5, 2.25, "Hello there."),
    Caption(3600.001, 3603.2, LONG),
    Caption(99 * 3600.0, 123 * 3600.0, "The end."),
]


@pytest.mark.parametrize(
    ("write", "load"), [(as_vtt, webvtt.from_string), (as_srt, None)], ids=["vtt", "srt"]
)
def test_another_library_reads_what_we_write(write, load):
    written = write(PLAIN)

    theirs = load(written) if load else webvtt.from_buffer(io.StringIO(written), format="srt")

    assert [(seconds(cue.start), seconds(cue.end), cue.text) for cue in theirs] == [
        (round(cue.start, 3), round(cue.end, 3), cue.text) for cue in laid_out(PLAIN)
    ]


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_we_read_what_another_library_writes(kind):
    theirs = webvtt.WebVTT()
    for start, end, line in [
        ("00:00:01.000", "00:00:02.500", "Hello"),
        ("00:01:00.000", "00:01:01.000", "World"),
    ]:
        theirs.captions.append(webvtt.Caption(start, end, line))
    written = io.StringIO()
    theirs.write(written, format=kind)

    assert lines_of(read(written.getvalue())) == [(1000, 2500, "Hello"), (60_000, 61_000, "World")]


def test_markup_notes_and_styles_of_vtt_are_no_text():
    cues = read(
        "WEBVTT - a title\nKind: captions\n\n"
        "STYLE\n::cue { color: red }\n\n"
        "NOTE nobody says this\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start\n<v.loud Ada>Hello <i>you</i> &amp; me</v>\n\n"
        "00:03.000 --> 00:04.000\n<00:03.500><c.yellow>a < b</c>\n"
    )

    assert lines_of(cues) == [(1000, 2000, "Hello you & me"), (3000, 4000, "a < b")]
    assert [cue.speaker for cue in cues] == ["Ada", ""]


def test_srt_of_any_editor_is_read():
    content = (
        '\ufeff1\r\n0:00:01,5 --> 0:00:02,500\r\n{\\an8}<font color="red">Ça va</font>\r\n\r\n'
    )

    for encoding in ("utf-8", "utf-16", "cp1252"):
        encoded = content.lstrip("\ufeff").encode(encoding)
        assert lines_of(read(decode(encoded))) == [(1500, 2500, "Ça va")]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "no cue"),
        ("This is no caption.", "no cue"),
        ("WEBVTT\n\nNOTE alone\n", "no cue"),
        ("1\n00:00:01,000 --> soon\nHello\n", "Line 2"),
    ],
)
def test_what_is_no_captions_is_told_with_its_line(written, told):
    with pytest.raises(BadCaptions, match=told):
        read(written)


@pytest.mark.parametrize("opener", ["<v ", "<v.", "<c ", "<1", "&#", "<font ", "{\\", " "])
@pytest.mark.parametrize("head", ["WEBVTT\n\n00:00.000 --> 00:01.000\n<v", SRT_HEAD])
def test_a_file_of_openers_without_ends_is_read_in_one_pass(head, opener):
    longest = head + opener * (10 * 1024**2 // len(opener))

    with suppress(BadCaptions):
        read(longest)  # Quadratic, it would take days.


def test_srt_text_after_an_empty_line_is_not_lost():
    written = f"{SRT_HEAD}First\n\nSecond\n\n2\n\n00:00:05,000 --> 00:00:06,000\nThird\n"

    assert [cue.text for cue in read(written)] == ["First Second", "Third"]


def test_more_cues_than_a_day_has_are_refused():
    cue = "00:01.000 --> 00:02.000\nWord\n\n"

    with pytest.raises(BadCaptions, match="more than 100000 cues"):
        read("WEBVTT\n\n" + cue * 100_001)


def test_a_line_of_spaces_does_not_end_a_cue_of_vtt():
    written = "WEBVTT\n\n00:01.000 --> 00:02.000\na\n \nb\n\n00:03.000 --> 00:04.000\nnext\n"

    assert [cue.text for cue in read(written)] == ["a b", "next"]


@pytest.mark.parametrize(
    "written",
    [
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n2\n00:00:03,000 --> 00:00:04,000\nWorld\n",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n00:03.000 --> 00:04.000\nWorld\n",
    ],
)
def test_cues_without_an_empty_line_between_them_are_two(written):
    assert [(cue.start, cue.text) for cue in read(written)] == [(1.0, "Hello"), (3.0, "World")]


def test_tags_that_were_said_are_kept_in_srt():
    said = "write <b> then <font color=red> and {\\an8} here"

    (read_again,) = read(as_srt([Caption(0, 2, said)]))

    assert read_again.text == "write ‹b› then ‹font color=red› and (\\an8) here"


def test_a_cue_of_a_million_words_is_read_and_written_in_one_pass():
    text = "1\n00:00:01,000 --> 10:00:02,000\n" + "a\n\n" * 1_000_000

    (cue,) = read(text)

    assert len(cue.text.split()) == 1_000_000
    assert as_srt([cue]).count(" --> ") > 10_000
