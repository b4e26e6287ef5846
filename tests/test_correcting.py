"""Changing a transcript's text: words keep their times where they stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.text.carrying_over import carried_over
from videos.text.correcting import CannotChange, Line, joined, replaced, rewritten, split


def line(text, start=0.0, each=1.0, **fields):
    """A line whose words take a second each."""
    words = [
        [start + number * each, start + (number + 1) * each, word]
        for number, word in enumerate(text.split())
    ]
    end = words[-1][1] if words else start + each
    return Line(start, end, text, words=words, **fields)


def test_words_that_stay_keep_their_times():
    before = line("we learn hebian rules today", doubt="unsure")

    changed = rewritten(before, "We learn Hebbian rules")

    assert changed.words == [
        *([0.0, 1.0, "We"], [1.0, 2.0, "learn"], [2.0, 3.0, "Hebbian"], [3.0, 4.0, "rules"]),
    ]
    assert (changed.machine_text, changed.doubt) == ("we learn hebian rules today", "")


def test_new_words_lie_between_their_neighbors():
    changed = rewritten(line("one four"), "one two three four")

    assert [word[2] for word in changed.words] == ["one", "two", "three", "four"]
    assert changed.words[0] == [0.0, 1.0, "one"]
    assert changed.words[3] == [1.0, 2.0, "four"]
    assert all(1.0 <= start <= end <= 1.0 for start, end, _ in changed.words[1:3])


def test_scripts_without_spaces_keep_the_times_of_their_words():
    words = [[0.0, 1.0, "今日"], [1.0, 2.0, "は"], [2.0, 3.0, "天気"]]

    changed = rewritten(Line(0.0, 3.0, "今日は天気", words=words), "今日は元気")

    assert [word[2] for word in changed.words] == ["今日", "は", "元", "気"]
    assert changed.words[0] == [0.0, 1.0, "今日"]
    assert changed.words[3][1] == 3.0


def test_a_text_that_is_as_recognized_again_is_the_machines():
    original = line("a b c")

    assert rewritten(rewritten(original, "a x c"), "a b c").machine_text is None


def test_a_doubtful_line_that_a_person_confirms_is_doubted_no_more():
    confirmed = rewritten(line("a b", doubt="unsure"), "a b")

    assert (confirmed.doubt, confirmed.machine_text) == ("", "a b")
    assert rewritten(line("a b"), " a  b ") == line("a b")


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_line_is_refused(text):
    with pytest.raises(CannotChange):
        rewritten(line("a"), text)


def test_a_line_is_split_where_its_words_are():
    first, second = split(line("one two three"), 4)

    assert (first.text, first.end, first.machine_text) == ("one", 1.0, "one")
    assert (second.text, second.start, second.machine_text) == ("two three", 1.0, "two three")
    assert second.words == [[1.0, 2.0, "two"], [2.0, 3.0, "three"]]


def test_without_times_of_words_letters_tell_where():
    first, second = split(Line(10.0, 20.0, "aaaa aaaa"), 4)

    assert first.end == second.start == 15.0


@pytest.mark.parametrize("at", [0, 3, 99])
def test_nothing_is_split_off_an_end(at):
    with pytest.raises(CannotChange):
        split(line("one"), at)


def test_lines_are_joined_as_their_script_wants_it():
    whole = joined(line("one", speaker="Ada"), line("two", start=1.0))

    assert (whole.text, whole.start, whole.end, whole.speaker) == ("one two", 0.0, 2.0, "Ada")
    assert len(whole.words) == 2
    assert joined(Line(0, 1, "今日は"), Line(1, 2, "天気")).text == "今日は天気"
    assert joined(line("one"), Line(1, 2, "two")).words == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"match_case": False, "whole_words": True}, "B is not parta, nor is B."),
        ({"match_case": True, "whole_words": True}, "Art is not parta, nor is B."),
        ({"match_case": False, "whole_words": False}, "B is not pBa, nor is B."),
    ],
)
def test_words_are_replaced_literally(options, expected):
    assert replaced("Art is not parta, nor is art.", "art", "B", **options) == expected


def test_signs_are_no_pattern():
    changed = replaced("1+1 (a.b)", "(a.b)", r"\1", match_case=True, whole_words=False)

    assert changed == r"1+1 \1"


texts = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8),
    min_size=1,
    max_size=12,
).map(" ".join)


@given(texts, texts)
def test_times_of_words_never_run_back_and_no_letter_is_lost(old, new):
    before = line(old)
    after = rewritten(before, new)

    assert "".join(word[2] for word in after.words) == "".join(new.split())
    times = [time for start, end, _ in after.words for time in (start, end)]
    assert times == sorted(times)
    assert all(before.start <= time <= before.end for time in times)


@given(texts, st.integers(0, 60))
def test_what_is_split_and_joined_is_as_before(text, at):
    try:
        first, second = split(line(text), at)
    except CannotChange:
        return
    assert first.text + second.text == text[:at].strip() + text[at:].strip()
    assert line(text).start <= first.end <= second.start <= line(text).end
    assert "".join(joined(first, second).text.split()) == "".join(text.split())


# --- Carrying over ----------------------------------------------------------------------


def test_a_line_with_the_same_bounds_takes_the_place_of_the_new_one():
    corrected = rewritten(line("hebian rule", start=5.0), "Hebbian rule")
    new = [line("before now", start=3.0), line("heavy and rule", start=5.0, each=2 / 3)]

    put, unfit = carried_over([corrected], new)

    assert [each.text for each in put] == ["before now", "Hebbian rule"]
    assert put[1].machine_text == "heavy and rule"
    assert unfit == []


def test_what_the_machine_gets_right_now_is_no_correction():
    corrected = rewritten(line("hebian rule"), "Hebbian rule")
    new = [line("Hebbian rule")]

    assert carried_over([corrected], new) == (new, [])


@pytest.mark.parametrize(
    ("recognized", "written", "now", "expected"),
    [
        (["hebian rule."], "Hebbian rule", ["hebbian rule."], ["Hebbian rule"]),
        (["the usa, it is"], "The USA: it is!", ["the usa, it is"], ["The USA: it is!"]),
        (["ab cd ef gh"], "Ab, (Cd Ef) gh.", ["ab cd", "ef gh"], ["Ab, (Cd", "Ef) gh."]),
        (["ab cd ef gh"], "Ab “Cd-Ef” gh", ["ab cd", "...", "ef gh"], ["Ab “Cd-", "...", "Ef” gh"]),
        (["ab cd"], "Ab Cd.", ["...", "ab cd"], ["...", "Ab Cd."]),
    ],
)
def test_signs_and_capitals_that_a_person_wrote_stay(recognized, written, now, expected):
    corrected = rewritten(line(*recognized), written)
    length_s = (corrected.end - corrected.start) / len(now)
    new = [
        Line(corrected.start + at * length_s, corrected.start + (at + 1) * length_s, text)
        for at, text in enumerate(now)
    ]

    put, unfit = carried_over([corrected], new)

    assert [each.text for each in put] == expected
    assert [each.machine_text for each in put] == [
        None if each.text == text else text for each, text in zip(put, now, strict=True)
    ]
    assert unfit == []
    assert carried_over([corrected], put) == (put, [])


def test_words_that_no_cut_keeps_apart_are_one_line():
    """The letter with a dot is one, or two, of which the second is no letter."""
    corrected = rewritten(line("i\u0307stanbul ab"), "\u0130stanbul Ab.")
    new = [Line(0.0, 1.0, "i\u0307stanbul"), Line(1.0, 2.0, "ab")]

    (put,), unfit = carried_over([corrected], new)

    assert (put.text, unfit) == (corrected.text, [])


def test_the_same_mistake_in_a_longer_line_is_mended():
    corrected = rewritten(line("hebian rule", start=5.0), "Hebbian rule")
    new = [Line(0.0, 20.0, "So the hebian rule is old.")]

    (put,), unfit = carried_over([corrected], new)

    assert (put.text, put.machine_text) == ("So the Hebbian rule is old.", new[0].text)
    assert unfit == []


def test_times_of_words_cut_a_place_out_of_a_longer_line():
    corrected = rewritten(line("hebian rule", start=2.0), "Hebbian rule")
    new = [line("so the heavy rule is old")]

    put, unfit = carried_over([corrected], new)

    assert [each.text for each in put] == ["so the", "Hebbian rule", "is old"]
    assert [each.machine_text for each in put] == [None, "hebian rule", None]
    assert unfit == []


def test_a_place_is_cut_out_of_a_line_without_spaces():
    words = [[0.0, 1.0, "今日"], [1.0, 2.0, "は"], [2.0, 3.0, "平"], [3.0, 4.0, "です"]]
    new = [Line(0.0, 4.0, "今日は平です", words=words)]
    corrected = rewritten(Line(2.0, 3.0, "兵", words=[[2.0, 3.0, "兵"]]), "晴れ")

    put, unfit = carried_over([corrected], new)

    assert [each.text for each in put] == ["今日は", "晴れ", "です"]
    assert unfit == []


def test_what_fits_nowhere_is_said():
    corrected = rewritten(line("hebian rule", start=2.0), "Hebbian rule")

    assert carried_over([corrected], [Line(0.0, 20.0, "Nothing of it.")])[1] == [corrected]
    assert carried_over([corrected], [])[1] == [corrected]


def test_carrying_over_twice_is_carrying_over_once():
    corrected = rewritten(line("hebian rule", start=5.0), "Hebbian rule")
    new = [line("before now", start=3.0), line("heavy rule", start=5.0)]

    once, _ = carried_over([corrected], new)

    assert carried_over([corrected], once) == (once, [])
