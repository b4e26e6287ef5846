"""Times of words for a text that came without any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.audio.stitching import ALIGNED
from videos.audio.word_times import by_characters, inside_speech, sentences, spread, words_of

speech = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 5_000)), min_size=1).map(
    lambda gaps: [
        (sum(map(sum, gaps[:at])) + gap, sum(map(sum, gaps[: at + 1])))
        for at, (gap, _) in enumerate(gaps)
    ]
)


@given(st.text(max_size=200), speech)
def test_words_are_shared_out_in_order_and_inside_speech(text, spoken):
    timed = spread(text, spoken)

    assert [word for _, _, word in timed] == words_of(text)
    assert all(start <= end for start, end, _ in timed)
    assert [start for start, _, _ in timed] == sorted(start for start, _, _ in timed)
    assert all(spoken[0][0] <= start * 1000 + 1 for start, _, _ in timed)
    assert all(end * 1000 - 1 <= spoken[-1][1] for _, end, _ in timed)


@given(st.text(max_size=200))
def test_no_letter_is_lost_between_words(text):
    assert "".join(words_of(text)) == "".join(text.split())


def test_words_have_the_times_of_the_tokens_that_spell_them():
    tokens = [(0.0, 0.2, "Photo"), (0.2, 0.6, "synthesis"), (0.7, 0.9, " is"), (0.9, 1.4, " slow.")]

    assert by_characters("Photosynthesis is slow.", tokens) == [
        (0.0, 0.6, "Photosynthesis"),
        (0.7, 0.9, "is"),
        (0.9, 1.4, "slow."),
    ]


def test_tokens_that_spell_another_text_time_none_of_it():
    assert by_characters("eins zwei drei", [(0, 1, "eins"), (1, 2, " zwei")]) == []


def test_a_word_does_not_begin_in_the_silence_before_it():
    assert inside_speech([(1.0, 3.5, "Leaves")], [(0, 1_200), (3_000, 9_000)])[0][:2] == (1.0, 3.5)
    assert inside_speech([(1.5, 3.5, "Leaves")], [(0, 1_200), (3_000, 9_000)])[0][:2] == (3.0, 3.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([(0, 1, "One."), (1, 2, "Two.")], ["One.", "Two."]),
        ([(0, 1, "One"), (3, 4, "two")], ["One", "two"]),
        ([(0, 1, "One,"), (1.5, 2, "two")], ["One, two"]),
        ([(n, n + 1, "la") for n in range(30)], ["la " * 13 + "la", "la " * 13 + "la", "la la"]),
        ([(0, 1, "一。"), (1, 2, "二。")], ["一。", "二。"]),
        ([], []),
    ],
)
def test_segments_are_sentences_and_end_at_pauses(words, said):
    segments = sentences(words, ALIGNED)

    assert [segment.text for segment in segments] == said
    assert [word for segment in segments for word in segment.words] == words
