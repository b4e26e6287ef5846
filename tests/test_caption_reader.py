"""Captions as people and machines really write them: read, and what was mended is told."""

from itertools import pairwise

import pytest

from videos.text.caption_reader import read
from videos.text.captions import BadCaptions
from videos.text.encodings import decode


def said(text):
    cues, _ = read(text)
    return [cue.text for cue in cues]


def timed(text):
    cues, _ = read(text)
    return [(round(cue.start, 3), round(cue.end, 3), cue.text) for cue in cues]


def told(text):
    _, repairs = read(text)
    return [str(repair) for repair in repairs]


def srt(*cues, clock="00:00:{:02},000"):
    """Cues of two seconds, one after the other."""
    return "\n\n".join(
        f"{number}\n{clock.format(2 * number)} --> {clock.format(2 * number + 2)}\n{text}"
        for number, text in enumerate(cues, start=1)
    )


# What video sites make of live speech: the line before stays on screen while the next one grows,
# with a flash of ten milliseconds between any two.
ROLLED = ["so today we", "look at leaves", "no no no", "they are green"]
ROLLING_VTT = "WEBVTT\nKind: captions\n\n" + "".join(
    f"00:{2 * at + 1:02}.010 --> 00:{2 * at + 3:02}.000 align:start position:0%\n"
    f"{before or ' '}\n{now.replace(' ', '<00:00:01.300><c> ', 1)}</c>\n\n"
    f"00:{2 * at + 3:02}.000 --> 00:{2 * at + 3:02}.010 align:start position:0%\n{now}\n \n\n"
    for at, (before, now) in enumerate(pairwise(["", *ROLLED]))
)


def test_rolling_captions_say_each_phrase_once_when_it_is_first_shown():
    assert timed(ROLLING_VTT) == [
        (2 * at + 1.01, 2 * at + 3.0, phrase) for at, phrase in enumerate(ROLLED)
    ]
    assert "roll" in told(ROLLING_VTT)[0]


def test_an_srt_made_of_rolling_captions_is_read_the_same():
    text = srt("one two", "one two\nthree four", "three four\nfive six", "five six\nseven eight")

    assert said(text) == ["one two", "three four", "five six", "seven eight"]


def test_captions_that_grow_word_by_word_say_each_word_once():
    text = srt("the", "the leaf", "the leaf is", "the leaf is green", "the leaf is green\nand")

    assert said(text) == ["the", "leaf", "is", "green", "and"]


def test_three_lines_of_a_broadcast_roll_up():
    lines = ["ALPHA ONE", "BETA TWO", "GAMMA THREE", "DELTA FOUR", "EPSILON FIVE", "ZETA SIX"]
    rolled = ["\n".join(lines[max(0, at - 2) : at + 1]) for at in range(len(lines))]

    assert said(srt(*rolled)) == lines


@pytest.mark.parametrize(
    ("shown", "spoken"),
    [
        (
            ["Hello there.", "Hello there. How are", "Hello there. How are you today?"],
            ["Hello there.", "How are", "you today?"],
        ),
        (
            ["welcome to the lecture", "welcome to the lecture\nabout rates", "about rates\nhere"],
            ["welcome to the lecture", "about rates", "here"],
        ),
    ],
)
def test_a_file_of_three_cues_that_roll_says_each_phrase_once(shown, spoken):
    assert said(srt(*shown)) == spoken
    assert "scroll" in told(srt(*shown))[0]


@pytest.mark.parametrize(
    "spoken",
    [
        ["No.", "No.", "No."],
        ["No, no, no", "no, no", "No!"],
        ["Row, row", "row your boat", "Row, row", "row your boat"],
        ["A rose is", "is what it is", "is it?"],
        ["la la la", "la la la", "la la la", "la la la"],
        ["No", "No no", "No no no", "No no no no"],
        ["Yes.", "Yes. I know.\nYes.", "Yes. Go.\nYes.", "Yes. Stop.\nYes."],
    ],
)
def test_a_real_repetition_stays(spoken):
    assert said(srt(*spoken)) == [" ".join(text.split()) for text in spoken]


def test_captions_that_do_not_follow_at_once_do_not_roll():
    text = "\n\n".join(
        f"00:{minute:02}:01.000 --> 00:{minute:02}:03.000\n{words}"
        for minute, words in enumerate(["go on", "go on\nthen", "then\nstop", "stop\nnow"])
    )

    assert len(" ".join(said(f"WEBVTT\n\n{text}")).split()) == 9


@pytest.mark.parametrize(
    "above",
    [
        "WEBVTT\n",
        "WEBVTT - a title\nKind: captions\n",
        "WEBVTT\n\nNOTE of nobody\n",
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n",
        "WEBVTT\n\nREGION\nid:one\n",
        "WEBVTT\n\nNOTE\nlines\nof it\nintro\n",
        "[Script Info]\nTitle: x\n",
    ],
)
def test_a_cue_directly_below_other_lines_is_read(above):
    assert said(f"{above}00:01.000 --> 00:02.000\nHello\n") == ["Hello"]


@pytest.mark.parametrize(
    "arrow", ["->", "—>", "–>", "-- >", "=>", "→", " --> ", "--&gt;", "-->", "--", " - ", "--->"]
)
def test_an_arrow_is_read_as_it_was_meant(arrow):
    text = f"1\n00:00:01,000{arrow}00:00:02,000\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\nWorld\n"

    assert timed(text) == [(1.0, 2.0, "Hello"), (3.0, 4.0, "World")]


@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"])
def test_an_empty_line_after_the_times_costs_no_text(head):
    first, second = "00:00:01.000 --> 00:00:02.000", "00:00:03.000 --> 00:00:04.000"
    text = f"{head}1\n{first}\n\nHello\n\n2\n{second}\nWorld\n"

    assert said(text) == ["Hello", "World"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("00:00:01", 1.0),
        ("0:01", 1.0),
        ("00:00:01,5", 1.5),
        ("00:00:01,5000", 1.5),
        ("00:00:01.123456", 1.123),
        ("00:00:01:500", 1.5),
        ("00:00:01, 500", 1.5),
        ("00:00:01 ,500", 1.5),
        ("00:00:01:12", 1.48),
        ("-00:00:01,000", 0.0),
        ("0001:00:01,000", 3601.0),
    ],
)
def test_times_of_every_kind_are_read(written, seconds):
    ((start, _, text),) = timed(f"1\n{written} --> 02:00:00,000\nHello\n")

    assert (start, text) == (seconds, "Hello")


def test_a_time_below_zero_and_an_end_before_its_start_are_mended_and_told():
    text = (
        "1\n-00:00:01,000 --> 00:00:02,000\nHello\n\n"
        "2\n00:00:05,000 --> 00:00:03,000\nodd\n\n"
        "3\n00:00:08,000 --> 00:00:09,000\nWorld\n"
    )

    assert timed(text) == [(0.0, 2.0, "Hello"), (5.0, 8.0, "odd"), (8.0, 9.0, "World")]
    assert told(text) == [
        "Line 2: a time is negative; it was taken for 0.",
        "Line 6: the cue ends before it begins; it was extended to the next.",
    ]


def test_times_that_nobody_can_read_cost_no_text_and_are_told():
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n\n"
        "2\n00:00:03,000 --> soon\nlost?\n\n"
        "3\n00:00:08,000 --> 00:00:09,000\nWorld\n"
    )

    assert timed(text) == [(1.0, 2.0, "Hello"), (2.0, 8.0, "lost?"), (8.0, 9.0, "World")]
    assert told(text)[0].startswith("Line 6: the times cannot be read")


def test_a_number_that_is_said_is_no_number_of_a_cue():
    assert said("WEBVTT\n\n00:01.000 --> 00:02.000\n7\n\n00:03.000 --> 00:04.000\n8\n") == [
        "7",
        "8",
    ]
    assert said(srt("7", "8")) == ["7", "8"]


@pytest.mark.parametrize(
    "text", ["Meet me between\n10:30 - 11:45\nor never", "We open\n9:00 – 17:00", "3:2 2:1 at home"]
)
def test_hours_and_scores_that_are_said_are_no_times_of_a_cue(text):
    assert said(srt(text, "World")) == [" ".join(text.split()), "World"]


def test_a_text_that_belongs_to_no_cue_is_told():
    first, second = "00:01.000 --> 00:02.000", "00:03.000 --> 00:04.000"
    text = f"WEBVTT\n\n{first}\nHello\n\nstray words\n\n{second}\nWorld\n"

    assert said(text) == ["Hello", "World"]
    assert told(text) == ["Line 6: a text between cues was left out."]


@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"])
@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Tom &amp; Jerry&nbsp;&lt;3", "Tom & Jerry <3"),
        ("one<br>two<br/>three", "one two three"),
        (r"one\Ntwo", "one two"),
        (r"{\an8}<i>one</i>", "one"),
        ('<font color="red">one</font>', "one"),
        ("2 < 3 & 4 > 1", "2 < 3 & 4 > 1"),
    ],
)
def test_markup_of_either_kind_becomes_plain_text(head, written, text):
    assert said(f"{head}00:00:01.000 --> 00:00:02.000\n{written}\n") == [text]


@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"])
def test_two_voices_in_a_cue_are_two_speakers(head):
    cues, _ = read(f"{head}00:00:01.000 --> 00:00:03.000\n<v Ada>Hello you</v>\n<v Bob>Hi there\n")

    assert [(cue.speaker, cue.text) for cue in cues] == [("Ada", "Hello you"), ("Bob", "Hi there")]
    assert cues[0].start == 1.0 and cues[0].end == cues[1].start and cues[1].end == 3.0


RUSSIAN = "Добрый день, сегодня мы говорим о фотосинтезе и о том, как растения живут на свету."
CHINESE = "今天我们来谈谈植物如何利用阳光制造食物，这个过程叫做光合作用。"
JAPANESE = "今日は植物がどのように光から養分を作るのかについてお話しします。"
FRENCH = "Aujourd'hui, nous étudions comment les plantes créent leur nourriture à la lumière."
POLISH = "Dzisiaj mówimy o tym, jak rośliny żyją i skąd biorą energię; to się nazywa fotosynteza."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (CHINESE, "gb18030"),
        (JAPANESE, "shift_jis"),
        (FRENCH, "cp1252"),
        (POLISH, "cp1250"),
        (RUSSIAN, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (CHINESE, "utf-16"),
        (RUSSIAN, "utf-8-sig"),
    ],
)
@pytest.mark.parametrize("times", [1, 20])
def test_an_encoding_is_detected_and_told(text, encoding, times):
    written = srt(*[text] * times)

    decoded, guesses = decode(written.encode(encoding))

    assert text in decoded
    assert encoding.startswith("utf") or "read as" in str(guesses[0])


def test_bytes_of_no_encoding_are_refused():
    with pytest.raises(BadCaptions, match="UTF-8"):
        decode(b"1\n00:00:01,000 --> 00:00:02,000\n" + bytes(range(0x80, 0x100)) * 20)


def test_one_bad_byte_costs_one_character_and_is_told():
    content = srt(RUSSIAN, FRENCH).encode().replace("é".encode(), b"\xe9", 1)

    text, (guess,) = decode(content)

    assert text.count("\ufffd") == 1
    assert RUSSIAN in text
    assert "Line 7: a byte is not UTF-8" in str(guess)
